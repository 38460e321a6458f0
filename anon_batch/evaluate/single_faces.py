"""Measures on images of one face: the Frechet distance of outputs from originals, and landmark errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.contact_sheet import FaceSample
from anon_batch.evaluate.frechet import MIN_SAMPLES_PER_DIMENSION, FeatureMoments, FrechetMeasure, frechet_distance
from anon_batch.evaluate.landmarks import LandmarkErrors, LandmarkMeasures
from anon_batch.evaluate.samples import ImageReader, Selection
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample
from anon_batch.evaluate.subjects import EvaluatedMethod, Output, Subject, detect_faces, only_faces, subject_of
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.records import PixelArray, Preview
from anon_batch.storage import Storage

Errors = dict[str, LandmarkErrors]  # detector -> its errors


@dataclass(slots=True, eq=False)
class FaceMoments:
    """Moments of one recogniser's features so far.

    Args:
        embedder: the recogniser.
        originals: of all originals.
        halves: of every second original: two sets that differ by chance alone.
        outputs: method -> of its outputs.
    """

    embedder: Embedder
    originals: FeatureMoments
    halves: tuple[FeatureMoments, FeatureMoments]
    outputs: dict[str, FeatureMoments]

    @classmethod
    def empty(cls, embedder: Embedder, methods: Sequence[EvaluatedMethod]) -> FaceMoments:
        size = embedder.dimensions
        halves = FeatureMoments(size), FeatureMoments(size)
        return cls(embedder, FeatureMoments(size), halves, {method.name: FeatureMoments(size) for method in methods})

    def add_originals(self, subjects: Sequence[Subject]) -> None:
        """Add originals."""
        features = self.embedder.embed([Face(one.pixels, one.landmarks) for one in subjects])
        for position, row in enumerate(features, start=self.originals.count):
            self.halves[position % 2].add(row)
        self.originals.add(features)

    def too_few(self) -> str | None:
        """Return why there is no Frechet distance, or None."""
        if self.originals.enough:
            return None
        size, needed = self.originals.dimensions, MIN_SAMPLES_PER_DIMENSION * self.originals.dimensions
        return (
            f"{self.originals.count} faces; features of {size} dimensions ({self.embedder.name}) need at least {needed}"
        )

    def frechet(self, method: str | None) -> FrechetMeasure | None:
        """Return the distance of a method's outputs from the originals, or between two halves of the originals.

        Returns:
            None with too few faces.
        """
        if method is None:
            distance, samples = frechet_distance(*self.halves), self.halves[0].count
        else:
            distance, samples = frechet_distance(self.originals, self.outputs[method]), self.outputs[method].count
        if distance is None:
            return None
        return FrechetMeasure(
            f"Frechet distance on {self.embedder.name} features", distance, samples, self.originals.dimensions
        )


@dataclass(slots=True, eq=False)
class SingleFaceMeasures:
    """Measures so far.

    Args:
        moments: of each recogniser.
        sample: faces for the contact sheets.
        original_errors: of the second detector on the originals, against the first detector's landmarks: the baseline.
        errors: method -> detector -> errors.
        faces: measured.
        unusable: images without a face with landmarks.
        failures: reason -> skipped images.
    """

    moments: tuple[FaceMoments, ...]
    sample: FaceSample
    original_errors: Errors
    errors: dict[str, Errors]
    faces: int = 0
    unusable: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def landmarks(self, method: str | None) -> dict[str, LandmarkMeasures]:
        """Return detector -> landmark errors, of a method or of the originals."""
        errors = self.original_errors if method is None else self.errors[method]
        return {name: own.summary() for name, own in errors.items()}

    def too_few(self) -> str | None:
        """Return why a Frechet distance is missing, or None."""
        reasons = [reason for moments in self.moments if (reason := moments.too_few()) is not None]
        return "; ".join(reasons) or None

    def frechet(self, method: str | None) -> dict[str, FrechetMeasure]:
        """Return recogniser -> Frechet distance, without those that have too few faces; see `FaceMoments.frechet`."""
        found = {moments.embedder.name: moments.frechet(method) for moments in self.moments}
        return {name: own for name, own in found.items() if own is not None}


def measure_single_faces(
    config: EvaluationConfig,
    storage: Storage,
    setup: Setup,
    selection: Selection,
    speed_sample: SpeedSample,
    appearance: Appearance,
    on_progress: Callable[[int], None],
) -> SingleFaceMeasures:
    """Anonymize all faces of every chosen image, and measure the largest one."""
    state = _empty(config, setup)
    reader = ImageReader(storage, config.job.limits, config.allowed(selection.address), state.failures)
    for batch in reader.batches(selection.iterate(), config.job.detect.batch_size):
        found = [subject_of(image) for image in detect_faces(setup.anonymizer, batch, state.failures)]
        subjects = [subject for subject in found if subject is not None]
        state.unusable += len(found) - len(subjects)
        for subject in subjects:
            speed_sample.offer(subject.image, subject.detections)
        if subjects:
            _measure_batch(state, setup, subjects, config.run_key("faces"), appearance)
        state.faces += len(subjects)
        on_progress(len(batch))
    return state


def _empty(config: EvaluationConfig, setup: Setup) -> SingleFaceMeasures:
    names = [detector.name for detector in _detectors(setup)]
    return SingleFaceMeasures(
        tuple(FaceMoments.empty(embedder, setup.methods) for embedder in setup.embedders),
        FaceSample(config.seed),
        {setup.scorer.name: LandmarkErrors()} if setup.scorer else {},
        {method.name: {name: LandmarkErrors() for name in names} for method in setup.methods},
    )


def _detectors(setup: Setup) -> list[Detector]:
    return [setup.detector, *([setup.scorer] if setup.scorer else [])]


def _measure_batch(
    state: SingleFaceMeasures, setup: Setup, subjects: Sequence[Subject], key: bytes, appearance: Appearance
) -> None:
    if setup.scorer is not None:
        _add_landmark_errors(state.original_errors, [setup.scorer], subjects, [s.pixels for s in subjects])
    for moments in state.moments:
        moments.add_originals(subjects)
    results = {method.name: _measure_method(state, setup, method, subjects, key) for method in setup.methods}
    for index, subject in enumerate(subjects):
        outputs = {name: own[index] for name, own in results.items()}
        cells = {name: None if output is None else output.pixels for name, output in outputs.items()}
        region = setup.methods[0].regions(subject.image, subject.detections)[:1]
        state.sample.offer(subject.pixels, cells, region)
        appearance.add("faces", subject.image.image_id, subject.pixels, subject.detections, outputs)


def _measure_method(
    state: SingleFaceMeasures, setup: Setup, method: EvaluatedMethod, subjects: Sequence[Subject], key: bytes
) -> list[Output | None]:
    results = method.anonymize([(subject.image, subject.detections) for subject in subjects], key)
    present = [(subject, result) for subject, result in zip(subjects, results, strict=True) if result is not None]
    if present:
        outputs = [result.pixels for _, result in present]
        originals = [subject for subject, _ in present]
        _add_landmark_errors(state.errors[method.name], _detectors(setup), originals, outputs)
        faces = [Face(result.pixels, subject.landmarks) for subject, result in present]
        for moments in state.moments:
            moments.outputs[method.name].add(moments.embedder.embed(faces))
    return results


def _add_landmark_errors(
    errors: Errors, detectors: Sequence[Detector], subjects: Sequence[Subject], images: Sequence[PixelArray]
) -> None:
    for detector in detectors:
        previews = [Preview(s.image.image_id, pixels) for s, pixels in zip(subjects, images, strict=True)]
        for subject, found in zip(subjects, detector.detect(previews), strict=True):
            errors[detector.name].add(subject.box, subject.landmarks, only_faces(found))
