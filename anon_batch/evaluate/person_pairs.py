"""Measures on pairs of images of one person: re-identification, and identity of fakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from anon_batch.errors import ConfigError
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.embedder import Embedder, aligned_crop
from anon_batch.evaluate.identity import IdentityFeatures, IdentityMeasures, measure_identity
from anon_batch.evaluate.pairs_csv import Pair
from anon_batch.evaluate.reidentification import PairFeatures, Reidentification, attack
from anon_batch.evaluate.samples import ImageReader
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample
from anon_batch.evaluate.subjects import EvaluatedMethod, Output, Subject, detect_faces, subject_of
from anon_batch.records import FloatArray
from anon_batch.storage import Storage

_OUTPUTS = (
    "neutral",
    "smiling",
    "attacker_neutral",
    "attacker_smiling",
    "seed_neutral",
    "seed_smiling",
    "seed_shifted",
)


@dataclass(slots=True, eq=False)
class PairRows:
    """Rows of one recogniser's features so far, one for each person, by kind of image.

    Args:
        embedder: the recogniser.
        originals: `neutral` and `smiling` -> rows.
        outputs: method -> kind of output -> rows; NaN if there is no output.
    """

    embedder: Embedder
    originals: dict[str, list[FloatArray]]
    outputs: dict[str, dict[str, list[FloatArray]]]

    @classmethod
    def empty(cls, embedder: Embedder, methods: Sequence[EvaluatedMethod]) -> PairRows:
        outputs: dict[str, dict[str, list[FloatArray]]] = {
            method.name: {kind: [] for kind in _OUTPUTS} for method in methods
        }
        return cls(embedder, {"neutral": [], "smiling": []}, outputs)

    def original(self) -> PairFeatures:
        """Return the features of the originals."""
        return PairFeatures(np.stack(self.originals["neutral"]), np.stack(self.originals["smiling"]))

    def reidentification(self, method: str) -> Reidentification:
        """Search outputs in galleries of originals, of outputs with the attacker's key, and of other released outputs."""
        rows = {kind: np.stack(features) for kind, features in self.outputs[method].items()}
        probes = PairFeatures(rows["neutral"], rows["smiling"])
        gallery = PairFeatures(rows["attacker_neutral"], rows["attacker_smiling"])
        return Reidentification(attack(self.original(), probes), attack(gallery, probes), attack(probes, probes))

    def identity(self, method: str) -> IdentityMeasures:
        """See `identity.measure_identity`."""
        rows = {kind: np.stack(features) for kind, features in self.outputs[method].items()}
        original = self.original()
        return measure_identity(
            IdentityFeatures(
                rows["seed_neutral"], rows["seed_smiling"], rows["seed_shifted"], original.neutral, original.smiling
            )
        )

    def add_originals(self, kind: str, subjects: Sequence[Subject]) -> None:
        """Add the originals of one kind."""
        self.originals[kind].extend(self.embedder.embed([aligned_crop(one.pixels, one.landmarks) for one in subjects]))

    def add_outputs(
        self, method: str, kind: str, subjects: Sequence[Subject], results: Sequence[Output | None]
    ) -> None:
        """Add a method's outputs of one kind, None where there is none."""
        for subject, result in zip(subjects, results, strict=True):
            row = np.full(self.embedder.dimensions, np.nan, np.float32)
            if result is not None:
                row = self.embedder.embed([aligned_crop(result.pixels, subject.landmarks)])[0]
            self.outputs[method][kind].append(row)


@dataclass(slots=True, eq=False)
class PairMeasures:
    """Measures so far.

    Args:
        recognisers: their features.
        persons: measured.
        unusable: skipped persons, without a face with landmarks in one of their images.
        failures: reason -> images that could not be read.
    """

    recognisers: tuple[PairRows, ...]
    persons: int = 0
    unusable: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def measure_pairs(
    config: EvaluationConfig,
    storage: Storage,
    setup: Setup,
    pairs: Sequence[Pair],
    speed_sample: SpeedSample,
    appearance: Appearance,
    on_progress: Callable[[int], None],
) -> PairMeasures:
    """Anonymize both images of every person in all ways that the measures need.

    Args:
        config: of the evaluation.
        storage: of the images.
        setup: loaded models, with at least one recogniser.
        pairs: the persons.
        speed_sample: gets images for timing.
        appearance: gets the released outputs.
        on_progress: gets the number of persons of each finished batch.

    Raises:
        ConfigError: fewer than two persons can be measured.
    """
    state = PairMeasures(tuple(PairRows.empty(embedder, setup.methods) for embedder in setup.embedders))
    reader = ImageReader(storage, config.job.limits, config.allowed(config.pairs or ""), state.failures)
    size = config.job.detect.batch_size
    for chunk in (pairs[start : start + size] for start in range(0, len(pairs), size)):
        persons = list(_subjects(chunk, reader, setup, state))
        for neutral, smiling in persons:
            speed_sample.offer(neutral.image, neutral.detections)
            speed_sample.offer(smiling.image, smiling.detections)
        if persons:
            _measure_batch(config, state, setup.methods, persons, appearance)
        on_progress(len(chunk))
    if state.persons < 2:
        detectors = ", ".join(detector.name for detector in config.job.detect.detectors)
        raise ConfigError(
            f"--pairs {config.pairs}: detector {detectors} found a face with landmarks in both images of {state.persons} of "
            f"{len(pairs)} persons, expected at least two: use a detector that gives landmarks, or larger images"
        )
    return state


def _subjects(
    chunk: Sequence[Pair], reader: ImageReader, setup: Setup, state: PairMeasures
) -> Iterator[tuple[Subject, Subject]]:
    rows = [row for pair in chunk for row in (pair.neutral, pair.smiling)]
    found: dict[str, Subject] = {}
    for batch in reader.batches(rows, len(rows)):
        for image in detect_faces(setup.anonymizer, batch, state.failures):
            if (subject := subject_of(image)) is not None:
                found[image.row.image_id] = subject
    for pair in chunk:
        both = found.get(pair.neutral.image_id), found.get(pair.smiling.image_id)
        if both[0] is None or both[1] is None:
            state.unusable += 1
        else:
            yield both[0], both[1]


def _measure_batch(
    config: EvaluationConfig,
    state: PairMeasures,
    methods: Sequence[EvaluatedMethod],
    persons: Sequence[tuple[Subject, Subject]],
    appearance: Appearance,
) -> None:
    first, state.persons = state.persons, state.persons + len(persons)
    neutral, smiling = [pair[0] for pair in persons], [pair[1] for pair in persons]
    for rows in state.recognisers:
        rows.add_originals("neutral", neutral)
        rows.add_originals("smiling", smiling)
    seeds = [f"identity-{first + position}" for position in range(len(persons) + 1)]
    own_neutral = [subject.with_id(seed) for subject, seed in zip(neutral, seeds, strict=False)]
    own_smiling = [subject.with_id(seed) for subject, seed in zip(smiling, seeds, strict=False)]
    next_smiling = [subject.with_id(seed) for subject, seed in zip(smiling, seeds[1:], strict=True)]
    work = {
        "neutral": (neutral, "release"),
        "smiling": (smiling, "release"),
        "attacker_neutral": (neutral, "attacker"),
        "attacker_smiling": (smiling, "attacker"),
        "seed_neutral": (own_neutral, "identity"),
        "seed_smiling": (own_smiling, "identity"),
        "seed_shifted": (next_smiling, "identity"),
    }
    released: list[dict[str, Output | None]] = [{} for _ in persons]
    for method in methods:
        for kind, (subjects, purpose) in work.items():
            images = [(subject.image, subject.detections) for subject in subjects]
            results = method.anonymize(images, config.run_key(purpose))
            for rows in state.recognisers:
                rows.add_outputs(method.name, kind, subjects, results)
            if kind == "smiling":
                for outputs, result in zip(released, results, strict=True):
                    outputs[method.name] = result
    # One image of each person, because two would help a judge and a classifier.
    for position, (subject, outputs) in enumerate(zip(smiling, released, strict=True)):
        appearance.add("pairs", f"person {first + position}", subject.pixels, subject.detections, outputs)
