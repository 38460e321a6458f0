"""The attacks: what each attacker has, and whom it recognises in a release.

All know position and pose of a face, so that probes are aligned by the landmarks of the original; none knows the run's key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.evaluate.attacks import parrot
from anon_batch.evaluate.attacks.copies import vary
from anon_batch.evaluate.attacks.inversion import Inverter, Training
from anon_batch.evaluate.attacks.scenes import Scene
from anon_batch.evaluate.attacks.scores import PairFeatures, Scores, compare
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.records import FloatArray

NAMES = {
    "naive": "originals are the gallery",
    "reverse": "the gallery is anonymized too, with another key",
    "linked": "the gallery is a part of the release whose persons the attacker knows",
    "parrot": "a linear layer is trained on copies of the gallery, anonymized with other keys",
    "invert": "a network that undoes the method, trained on other faces, restores the release",
}
DEFAULT_ATTACKS = ("naive", "reverse", "linked", "parrot")

Features = dict[str, PairFeatures]  # by embedder


@dataclass(slots=True, eq=False)
class Known:
    """The images that attackers hold, two of each person, as a scene shows them.

    Args:
        scene: of the attacks.
        sides: first and second images of all persons.
        embedders: the recognisers.
        features: of the originals; computed at first use.
    """

    scene: Scene
    sides: tuple[list[Subject], list[Subject]]
    embedders: tuple[Embedder, ...]
    _features: Features | None = None

    @property
    def features(self) -> Features:
        """Features of the originals by embedder."""
        if self._features is None:
            faces = [[Face(one.pixels, one.landmarks) for one in side] for side in self.sides]
            self._features = embed_sides(self.embedders, faces[0], faces[1])
        return self._features


def show(persons: Sequence[tuple[Subject, Subject]], scene: Scene, embedders: Sequence[Embedder]) -> Known:
    """Return what attackers hold of these persons in a scene."""
    sides = [scene.show(first) for first, _ in persons], [scene.show(second) for _, second in persons]
    return Known(scene, sides, tuple(embedders))


@dataclass(slots=True, eq=False)
class Attackers:
    """All attackers of one method in one scene; what several of them need is made once.

    Args:
        method: with fallbacks, checks and settings of the job.
        known: the images that attackers hold.
        run_key: purpose -> key; `release` and `attacker` differ.
        seed: of the copies and of training.
        copies: number of copies of each image.
        training: of the inversion; None where there is none.
        on_message: gets progress messages.
    """

    method: EvaluatedMethod
    known: Known
    run_key: Callable[[str], bytes]
    seed: int
    copies: int
    training: Training | None
    on_message: Callable[[str], None]
    _copied: dict[str, list[PairFeatures]] = field(default_factory=dict)
    _released: tuple[list[Face | None], list[Face | None]] | None = None
    _probes: Features | None = None

    def scores(self, attack: str) -> dict[str, Scores]:
        """Return embedder -> scores of an attack.

        Raises:
            KeyError: there is no such attack.
        """
        return {
            "naive": lambda: self._compared(self.known.features),
            "reverse": lambda: self._compared({name: own[0] for name, own in self._copies(1).items()}),
            "linked": lambda: self._compared(self._probe_features()),
            "parrot": self._parrot,
            "invert": self._invert,
        }[attack]()

    def _compared(self, gallery: Features) -> dict[str, Scores]:
        return {name: compare(gallery[name], probes) for name, probes in self._probe_features().items()}

    def _parrot(self) -> dict[str, Scores]:
        copies, scores = self._copies(self.copies), {}
        for name, probes in self._probe_features().items():
            layers = [parrot.fit(np.stack([own.sides[side] for own in copies[name]])) for side in range(2)]
            scores[name] = Scores((layers[0].score(probes.second), layers[1].score(probes.first)))
        return scores

    def _invert(self) -> dict[str, Scores]:
        if self.training is None:
            raise KeyError("invert")
        inverter = Inverter.train(self.method, self.known.scene, self.training, self.run_key, self.on_message)
        first, second = (
            [None if face is None else inverter.restore(face) for face in side] for side in self._outputs()
        )
        restored = embed_sides(self.known.embedders, first, second)
        return {name: compare(own, restored[name]) for name, own in self.known.features.items()}

    def _outputs(self) -> tuple[list[Face | None], list[Face | None]]:
        if self._released is None:
            first, second = (self._anonymize(side, "release") for side in self.known.sides)
            self._released = first, second
        return self._released

    def _probe_features(self) -> Features:
        if self._probes is None:
            self._probes = embed_sides(self.known.embedders, *self._outputs())
        return self._probes

    def _copies(self, count: int) -> dict[str, list[PairFeatures]]:
        """Return embedder -> features of at least `count` anonymized copies of all images."""
        copied = self._copied or {embedder.name: [] for embedder in self.known.embedders}
        self._copied = copied
        for number in range(min(map(len, copied.values()), default=count), count):
            sides = []
            for side, subjects in enumerate(self.known.sides):
                rng = np.random.default_rng((self.seed, side, number))
                sides.append(self._anonymize([vary(subject, number, rng) for subject in subjects], "attacker"))
            for name, features in embed_sides(self.known.embedders, *sides).items():
                copied[name].append(features)
        return copied

    def _anonymize(self, subjects: Sequence[Subject], purpose: str) -> list[Face | None]:
        results = self.method.anonymize([(one.image, one.detections) for one in subjects], self.run_key(purpose))
        return [
            None if result is None else Face(result.pixels, subject.landmarks)
            for subject, result in zip(subjects, results, strict=True)
        ]


def embed_sides(embedders: Sequence[Embedder], first: Sequence[Face | None], second: Sequence[Face | None]) -> Features:
    """Return features of all faces, NaN for those that are missing."""
    return {own.name: PairFeatures(_rows(own, first), _rows(own, second)) for own in embedders}


def _rows(embedder: Embedder, faces: Sequence[Face | None]) -> FloatArray:
    rows: Any = np.full((len(faces), embedder.dimensions), np.nan, np.float32)
    present = [at for at, face in enumerate(faces) if face is not None]
    if present:
        rows[present] = embedder.embed([face for face in faces if face is not None])
    return np.asarray(rows, np.float32)
