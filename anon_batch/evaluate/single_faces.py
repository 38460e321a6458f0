"""Measures on images of one face: the Frechet distance of outputs from originals, and landmark errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.contact_sheet import FaceSample
from anon_batch.evaluate.embedder import Embedder, aligned_crop
from anon_batch.evaluate.frechet import MIN_SAMPLES_PER_DIMENSION, FeatureMoments, FrechetMeasure, frechet_distance
from anon_batch.evaluate.landmarks import LandmarkErrors, LandmarkMeasures
from anon_batch.evaluate.samples import ImageReader, Selection
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample
from anon_batch.evaluate.subjects import EvaluatedMethod, Output, Subject, detect_faces, only_faces, subject_of
from anon_batch.records import PixelArray, Preview
from anon_batch.storage import Storage

Errors = dict[str, LandmarkErrors]  # detector -> its errors


@dataclass(slots=True, eq=False)
class SingleFaceMeasures:
    """Measures so far.

    Args:
        embedder: None without one; there are no moments then.
        sample: faces for the contact sheets.
        original_errors: of the second detector on the originals, against the first detector's landmarks: the baseline.
        errors: method -> detector -> errors.
        original_moments: of all originals.
        halves: moments of every second original: two sets that differ by chance alone.
        moments: method -> moments of the outputs.
        faces: measured.
        unusable: images without a face with landmarks.
        failures: reason -> skipped images.
    """

    embedder: Embedder | None
    sample: FaceSample
    original_errors: Errors
    errors: dict[str, Errors]
    original_moments: FeatureMoments | None
    halves: tuple[FeatureMoments, FeatureMoments] | None
    moments: dict[str, FeatureMoments]
    faces: int = 0
    unusable: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def landmarks(self, method: str | None) -> dict[str, LandmarkMeasures]:
        """Return detector -> landmark errors, of a method or of the originals."""
        errors = self.original_errors if method is None else self.errors[method]
        return {name: own.summary() for name, own in errors.items()}

    def too_few(self) -> str | None:
        """Return why there is no Frechet distance, or None."""
        if self.original_moments is None or self.original_moments.enough:
            return None
        needed = MIN_SAMPLES_PER_DIMENSION * self.original_moments.dimensions
        return f"{self.faces} faces; features of {self.original_moments.dimensions} dimensions need at least {needed}"

    def frechet(self, method: str | None) -> FrechetMeasure | None:
        """Return the distance of a method's outputs from the originals, or between two halves of the originals.

        Returns:
            None without an embedder or with too few faces.
        """
        if self.embedder is None or self.original_moments is None or self.halves is None:
            return None
        if method is None:
            distance, samples = frechet_distance(*self.halves), self.halves[0].count
        else:
            distance = frechet_distance(self.original_moments, self.moments[method])
            samples = self.moments[method].count
        if distance is None:
            return None
        name = f"Frechet distance on {self.embedder.name} features"
        return FrechetMeasure(name, distance, samples, self.embedder.dimensions)


def measure_single_faces(
    config: EvaluationConfig,
    storage: Storage,
    setup: Setup,
    selection: Selection,
    speed_sample: SpeedSample,
    on_progress: Callable[[int], None],
) -> SingleFaceMeasures:
    """Anonymize all faces of every chosen image, and measure the largest one."""
    state = _empty(config, setup)
    reader = ImageReader(storage, config.job.limits, state.failures)
    for batch in reader.batches(selection.iterate(), config.job.detect.batch_size):
        found = [subject_of(image) for image in detect_faces(setup.anonymizer, batch, state.failures)]
        subjects = [subject for subject in found if subject is not None]
        state.unusable += len(found) - len(subjects)
        for subject in subjects:
            speed_sample.offer(subject.image, subject.detections)
        if subjects:
            _measure_batch(state, setup, subjects, config.run_key("faces"))
        state.faces += len(subjects)
        on_progress(len(batch))
    return state


def _empty(config: EvaluationConfig, setup: Setup) -> SingleFaceMeasures:
    names = [detector.name for detector in _detectors(setup)]
    methods, embedder = [method.name for method in setup.methods], setup.embedder
    size = 0 if embedder is None else embedder.dimensions
    return SingleFaceMeasures(
        embedder,
        FaceSample(config.seed),
        {setup.scorer.name: LandmarkErrors()} if setup.scorer else {},
        {method: {name: LandmarkErrors() for name in names} for method in methods},
        FeatureMoments(size) if embedder else None,
        (FeatureMoments(size), FeatureMoments(size)) if embedder else None,
        {method: FeatureMoments(size) for method in methods} if embedder else {},
    )


def _detectors(setup: Setup) -> list[Detector]:
    return [setup.detector, *([setup.scorer] if setup.scorer else [])]


def _measure_batch(state: SingleFaceMeasures, setup: Setup, subjects: Sequence[Subject], key: bytes) -> None:
    if setup.scorer is not None:
        _add_landmark_errors(state.original_errors, [setup.scorer], subjects, [s.pixels for s in subjects])
    if state.embedder and state.original_moments and state.halves:
        features = state.embedder.embed([aligned_crop(s.pixels, s.landmarks) for s in subjects])
        state.original_moments.add(features)
        for position, row in enumerate(features, start=state.faces):
            state.halves[position % 2].add(row)
    results = {method.name: _measure_method(state, setup, method, subjects, key) for method in setup.methods}
    for index, subject in enumerate(subjects):
        outputs = {name: own[index] for name, own in results.items()}
        cells = {name: None if output is None else output.pixels for name, output in outputs.items()}
        region = setup.methods[0].regions(subject.image, subject.detections)[:1]
        state.sample.offer(subject.pixels, cells, region)


def _measure_method(
    state: SingleFaceMeasures, setup: Setup, method: EvaluatedMethod, subjects: Sequence[Subject], key: bytes
) -> list[Output | None]:
    results = method.anonymize([(subject.image, subject.detections) for subject in subjects], key)
    present = [(subject, result) for subject, result in zip(subjects, results, strict=True) if result is not None]
    if present:
        outputs = [result.pixels for _, result in present]
        originals = [subject for subject, _ in present]
        _add_landmark_errors(state.errors[method.name], _detectors(setup), originals, outputs)
        if state.embedder:
            crops = [aligned_crop(result.pixels, subject.landmarks) for subject, result in present]
            state.moments[method.name].add(state.embedder.embed(crops))
    return results


def _add_landmark_errors(
    errors: Errors, detectors: Sequence[Detector], subjects: Sequence[Subject], images: Sequence[PixelArray]
) -> None:
    for detector in detectors:
        previews = [Preview(s.image.image_id, pixels) for s, pixels in zip(subjects, images, strict=True)]
        for subject, found in zip(subjects, detector.detect(previews), strict=True):
            errors[detector.name].add(subject.box, subject.landmarks, only_faces(found))
