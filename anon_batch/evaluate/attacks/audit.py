"""Attack a method with the settings of a job: every attack with every recogniser, in both scenes.

An `Audit` holds the persons already; `evidence.audit_release` starts from addresses and returns figures about a release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks.attackers import DEFAULT_ATTACKS, NAMES, Attackers, Known, show
from anon_batch.evaluate.attacks.inversion import DEFAULT_STEPS, Training
from anon_batch.evaluate.attacks.measures import Attacker, Reidentification, SceneMeasures, measure
from anon_batch.evaluate.attacks.scenes import FaceAlone, WholeImage
from anon_batch.evaluate.attacks.scores import Scores, compare
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject
from anon_batch.recognition.embedder import Embedder

DEFAULT_COPIES = 16
RunKey = Callable[[str], bytes]
OnMessage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """Which attackers there are.

    Args:
        attacks: names, see `attackers.NAMES`.
        copies: of each known image, for the parrot attack.
        steps: of training, for the inversion.
        faces: address of the faces that an inversion learns from; None for those of the donor bank.
    """

    attacks: tuple[str, ...] = DEFAULT_ATTACKS
    copies: int = DEFAULT_COPIES
    steps: int = DEFAULT_STEPS
    faces: str | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.attacks if name not in NAMES]:
            raise ConfigError(f"--attack {unknown[0]}: no such attack; choose from {', '.join(NAMES)}")
        if not self.attacks:
            raise ConfigError(f"--attack names no attack; choose from {', '.join(NAMES)}")


@dataclass(slots=True, eq=False)
class Audit:
    """The attacks on all methods of an evaluation, which share what they know.

    Args:
        persons: two images of each person, at least two persons.
        embedders: the recognisers, at least one.
        eraser: the method that erases faces in the masks of the others.
        settings: which attackers there are.
        run_key: purpose -> key.
        seed: of copies, training and tests.
        training: of the inversion, if it is one of the attacks.
        on_message: gets progress messages.
    """

    persons: Sequence[tuple[Subject, Subject]]
    embedders: tuple[Embedder, ...]
    eraser: EvaluatedMethod
    settings: AttackSettings
    run_key: RunKey
    seed: int = 0
    training: Training | None = None
    on_message: OnMessage = lambda _: None
    _face: Known = field(init=False)
    _whole: Known = field(init=False)
    _surroundings: SceneMeasures | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        subjects = [subject for pair in self.persons for subject in pair]
        self._face = show(self.persons, FaceAlone.of(subjects), self.embedders)
        self._whole = show(self.persons, WholeImage(), self.embedders)

    def of(self, method: EvaluatedMethod) -> Reidentification:
        """Attack a method."""
        face, surroundings = self._attack(method, self._face), self._of_surroundings()
        erases = method.name == self.eraser.name  # because both have the settings of the job
        return Reidentification(face, surroundings if erases else self._attack(method, self._whole), surroundings)

    def of_originals(self) -> Reidentification:
        """Compare the originals with each other: what attackers could find at most."""
        return Reidentification(self._compare_originals(self._face), self._compare_originals(self._whole))

    def _compare_originals(self, known: Known) -> SceneMeasures:
        scores = {("naive", name): compare(own, own) for name, own in known.features.items()}
        return measure(scores, self.seed)

    def _of_surroundings(self) -> SceneMeasures:
        if self._surroundings is None:
            self._surroundings = self._attack(self.eraser, self._whole)
        return self._surroundings

    def _attack(self, method: EvaluatedMethod, known: Known) -> SceneMeasures:
        self.on_message(f"attacking {method.name}, {known.scene.name}")
        attackers = Attackers(
            method, known, self.run_key, self.seed, self.settings.copies, self.training, self.on_message
        )
        scores: dict[Attacker, Scores] = {}
        for attack in self.settings.attacks:
            for embedder, own in attackers.scores(attack).items():
                scores[attack, embedder] = own
        return measure(scores, self.seed)
