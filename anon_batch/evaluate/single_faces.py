"""The pass over pictures of single faces: how outputs are spread among real faces' features, and where their landmarks
are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.contact_sheet import StripSample
from anon_batch.evaluate.embedder import Embedder, aligned_crop
from anon_batch.evaluate.frechet import MIN_SAMPLES_PER_DIMENSION, FeatureMoments, frechet_distance
from anon_batch.evaluate.images import SpeedSample
from anon_batch.evaluate.landmarks import LandmarkErrors
from anon_batch.evaluate.samples import PictureReader, Selection
from anon_batch.evaluate.setup import EvaluationPlan, Instruments
from anon_batch.evaluate.subjects import Method, Portrait, portrait_of, search
from anon_batch.records import AnonymizedImage, DecodedImage
from anon_batch.storage import Storage

Errors = dict[str, LandmarkErrors]  # detector -> its errors


@dataclass(slots=True, eq=False)
class FaceMeasures:
    """State of the pass.

    Args:
        embedder: None without one; there are no moments then.
        strips: faces for the contact sheets.
        original_errors: of the second detector on the originals, against the first's landmarks: the floor.
        errors: method -> detector -> errors.
        original_moments: of all originals.
        halves: of every second original: two sets that differ by chance alone.
        moments: method -> moments of the outputs.
        withheld: method -> faces without an output.
        faces: measured.
        unusable: pictures in which no face with landmarks was found.
        failures: reason -> pictures left out.
    """

    embedder: Embedder | None
    strips: StripSample
    original_errors: Errors
    errors: dict[str, Errors]
    original_moments: FeatureMoments | None
    halves: tuple[FeatureMoments, FeatureMoments] | None
    moments: dict[str, FeatureMoments]
    withheld: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    unusable: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def landmarks(self, method: str | None) -> dict[str, Any]:
        """Detector -> figures, of a method or of the originals."""
        errors = self.original_errors if method is None else self.errors[method]
        return {name: own.summary() for name, own in errors.items()}

    def too_few(self) -> str | None:
        """Why there is no Frechet distance, or None."""
        if self.original_moments is None or self.original_moments.enough:
            return None
        needed = MIN_SAMPLES_PER_DIMENSION * self.original_moments.dimensions
        return f"{self.faces} faces; features of {self.original_moments.dimensions} dimensions need {needed} at least"

    def frechet(self, method: str | None) -> dict[str, Any] | None:
        """The distance of a method's outputs from the originals, or of two halves of the originals from each other.

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
        return {"name": name, "distance": distance, "samples": samples, "dimensions": self.embedder.dimensions}


def measure_faces(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    selection: Selection,
    sample: SpeedSample,
    tick: Callable[[int], None],
) -> FaceMeasures:
    """Treats the largest face of every chosen picture, and all others in it, and looks at the result."""
    state = _start(plan, instruments)
    reader = PictureReader(storage, plan.job.limits, state.failures)
    for batch in reader.batches(selection.iterate(), plan.job.detect.batch_size):
        searched = search(instruments.detector, batch, state.failures)
        found = [portrait_of(picture) for picture in searched]
        portraits = [portrait for portrait in found if portrait is not None]
        state.unusable += len(found) - len(portraits)
        for portrait in portraits:
            sample.offer(portrait.image, portrait.detections)
        if portraits:
            _measure(state, instruments, portraits, plan.run_key("faces"))
        state.faces += len(portraits)
        tick(len(batch))
    return state


def _start(plan: EvaluationPlan, instruments: Instruments) -> FaceMeasures:
    names = [detector.name for detector in _detectors(instruments)]
    methods, embedder = [method.name for method in instruments.methods], instruments.embedder
    size = 0 if embedder is None else embedder.dimensions
    return FaceMeasures(
        embedder,
        StripSample(plan.seed),
        {instruments.scorer.name: LandmarkErrors()} if instruments.scorer else {},
        {method: {name: LandmarkErrors() for name in names} for method in methods},
        FeatureMoments(size) if embedder else None,
        (FeatureMoments(size), FeatureMoments(size)) if embedder else None,
        {method: FeatureMoments(size) for method in methods} if embedder else {},
    )


def _detectors(instruments: Instruments) -> list[Detector]:
    return [instruments.detector, *([instruments.scorer] if instruments.scorer else [])]


def _measure(state: FaceMeasures, instruments: Instruments, portraits: Sequence[Portrait], key: bytes) -> None:
    if instruments.scorer is not None:
        _find_landmarks(state.original_errors, [instruments.scorer], portraits, [p.image for p in portraits])
    if state.embedder and state.original_moments and state.halves:
        features = state.embedder.embed([aligned_crop(p.image.pixels, p.landmarks) for p in portraits])
        state.original_moments.add(features)
        for position, row in enumerate(features, start=state.faces):
            state.halves[position % 2].add(row)
    results = {method.name: _treat(state, instruments, method, portraits, key) for method in instruments.methods}
    for index, portrait in enumerate(portraits):
        outputs = {name: own[index] for name, own in results.items()}
        cells = {name: None if output is None else output.pixels for name, output in outputs.items()}
        region = instruments.methods[0].regions(portrait.image, portrait.detections)[:1]
        state.strips.offer(portrait.image.pixels, cells, region)


def _treat(
    state: FaceMeasures, instruments: Instruments, method: Method, portraits: Sequence[Portrait], key: bytes
) -> list[AnonymizedImage | None]:
    results = method.treat([(portrait.image, portrait.detections) for portrait in portraits], key)
    there = [(portrait, result) for portrait, result in zip(portraits, results, strict=True) if result is not None]
    state.withheld[method.name] += len(results) - len(there)
    if there:
        outputs = [replace(portrait.image, pixels=result.pixels) for portrait, result in there]
        treated = [portrait for portrait, _ in there]
        _find_landmarks(state.errors[method.name], _detectors(instruments), treated, outputs)
        if state.embedder:
            crops = [aligned_crop(result.pixels, portrait.landmarks) for portrait, result in there]
            state.moments[method.name].add(state.embedder.embed(crops))
    return results


def _find_landmarks(
    errors: Errors, detectors: Sequence[Detector], portraits: Sequence[Portrait], images: Sequence[DecodedImage]
) -> None:
    for detector in detectors:
        for portrait, found in zip(portraits, detector.detect(images), strict=True):
            errors[detector.name].add(portrait.box, portrait.landmarks, found)
