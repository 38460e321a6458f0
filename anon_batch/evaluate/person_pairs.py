"""Pairs of images of one person: those that attackers get, and the identity of fakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from anon_batch.anonymizer import Anonymizer
from anon_batch.errors import ConfigError
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.attacks.copies import window
from anon_batch.evaluate.identity import IdentityFeatures, IdentityMeasures, measure_identity
from anon_batch.evaluate.pairs_csv import Pair
from anon_batch.evaluate.samples import ImageReader
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample
from anon_batch.evaluate.subjects import EvaluatedMethod, Output, Subject, detect_faces, subject_of
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.records import FloatArray
from anon_batch.storage import Storage

_OUTPUTS = ("seed_neutral", "seed_smiling", "seed_shifted")


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

    def identity(self, method: str) -> IdentityMeasures:
        """See `identity.measure_identity`."""
        rows = {kind: np.stack(features) for kind, features in self.outputs[method].items()}
        neutral, smiling = (np.stack(self.originals[kind]) for kind in ("neutral", "smiling"))
        return measure_identity(
            IdentityFeatures(rows["seed_neutral"], rows["seed_smiling"], rows["seed_shifted"], neutral, smiling)
        )

    def add_originals(self, kind: str, subjects: Sequence[Subject]) -> None:
        """Add the originals of one kind."""
        self.originals[kind].extend(self.embedder.embed([Face(one.pixels, one.landmarks) for one in subjects]))

    def add_outputs(
        self, method: str, kind: str, subjects: Sequence[Subject], results: Sequence[Output | None]
    ) -> None:
        """Add a method's outputs of one kind, None where there is none."""
        for subject, result in zip(subjects, results, strict=True):
            row = np.full(self.embedder.dimensions, np.nan, np.float32)
            if result is not None:
                row = self.embedder.embed([Face(result.pixels, subject.landmarks)])[0]
            self.outputs[method][kind].append(row)


@dataclass(slots=True, eq=False)
class PairMeasures:
    """Measures so far.

    Args:
        recognisers: their features.
        persons: measured: both images, each in a window around the face.
        unusable: skipped persons, without a face with landmarks in one of their images.
        failures: reason -> images that could not be read.
    """

    recognisers: tuple[PairRows, ...]
    persons: list[tuple[Subject, Subject]] = field(default_factory=list)
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
    for chunk in _chunks(config, pairs):
        persons = list(_subjects(chunk, reader, setup.anonymizer, state))
        for neutral, smiling in persons:
            speed_sample.offer(neutral.image, neutral.detections)
            speed_sample.offer(smiling.image, smiling.detections)
        if persons:
            _measure_batch(config, state, setup.methods, persons, appearance)
        on_progress(len(chunk))
    _check_enough(config, len(state.persons), len(pairs))
    return state


def read_persons(
    config: EvaluationConfig, storage: Storage, anonymizer: Anonymizer, pairs: Sequence[Pair]
) -> list[tuple[Subject, Subject]]:
    """Return both images of every person, each in a window around the face, without persons of whom one is not found.

    Raises:
        ConfigError: there are fewer than two persons.
        StorageError: an image cannot be read.
    """
    state = PairMeasures(())
    reader = ImageReader(storage, config.job.limits, config.allowed(config.pairs or ""), state.failures)
    for chunk in _chunks(config, pairs):
        found = _subjects(chunk, reader, anonymizer, state)
        state.persons.extend((window(first), window(second)) for first, second in found)
    _check_enough(config, len(state.persons), len(pairs))
    return state.persons


def _chunks(config: EvaluationConfig, pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    size = config.job.detect.batch_size
    return (pairs[start : start + size] for start in range(0, len(pairs), size))


def _check_enough(config: EvaluationConfig, found: int, listed: int) -> None:
    if found < 2:
        detectors = ", ".join(detector.name for detector in config.job.detect.detectors)
        raise ConfigError(
            f"--pairs {config.pairs}: detector {detectors} found a face with landmarks in both images of {found} of "
            f"{listed} persons, expected at least two: use a detector that gives landmarks, or larger images"
        )


def _subjects(
    chunk: Sequence[Pair], reader: ImageReader, anonymizer: Anonymizer, state: PairMeasures
) -> Iterator[tuple[Subject, Subject]]:
    rows = [row for pair in chunk for row in (pair.neutral, pair.smiling)]
    found: dict[str, Subject] = {}
    for batch in reader.batches(rows, len(rows)):
        for image in detect_faces(anonymizer, batch, state.failures):
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
    first = len(state.persons)
    state.persons.extend((window(one), window(other)) for one, other in persons)
    neutral, smiling = [pair[0] for pair in persons], [pair[1] for pair in persons]
    for rows in state.recognisers:
        rows.add_originals("neutral", neutral)
        rows.add_originals("smiling", smiling)
    seeds = [f"identity-{first + position}" for position in range(len(persons) + 1)]
    own_neutral = [subject.with_id(seed) for subject, seed in zip(neutral, seeds, strict=False)]
    own_smiling = [subject.with_id(seed) for subject, seed in zip(smiling, seeds, strict=False)]
    next_smiling = [subject.with_id(seed) for subject, seed in zip(smiling, seeds[1:], strict=True)]
    work = {"seed_neutral": own_neutral, "seed_smiling": own_smiling, "seed_shifted": next_smiling}
    released: list[dict[str, Output | None]] = [{} for _ in persons]
    for method in methods:
        for kind, subjects in work.items():
            results = _anonymize(method, subjects, config.run_key("identity"))
            for rows in state.recognisers:
                rows.add_outputs(method.name, kind, subjects, results)
        for outputs, result in zip(released, _anonymize(method, smiling, config.run_key("release")), strict=True):
            outputs[method.name] = result
    # One image of each person, because two would help a judge and a classifier.
    for position, (subject, outputs) in enumerate(zip(smiling, released, strict=True)):
        appearance.add("pairs", f"person {first + position}", subject.pixels, subject.detections, outputs)


def _anonymize(method: EvaluatedMethod, subjects: Sequence[Subject], key: bytes) -> list[Output | None]:
    return method.anonymize([(subject.image, subject.detections) for subject in subjects], key)
