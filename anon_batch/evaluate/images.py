"""The pass over the manifest's pictures: average precision kept, which method of the ladder treated the faces, speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.average_precision import MethodTally, Scores, treated_truth
from anon_batch.evaluate.contact_sheet import StripSample
from anon_batch.evaluate.samples import PictureReader, Selection
from anon_batch.evaluate.setup import EvaluationPlan, Instruments
from anon_batch.evaluate.speed import time_passes
from anon_batch.evaluate.subjects import Method, SearchedPicture, search
from anon_batch.geometry import clip_detections
from anon_batch.records import AnonymizedImage, DecodedImage, Detections, PixelArray
from anon_batch.storage import Storage

_SPEED_FACES, _SPEED_PIXELS = 64, 32_000_000  # enough to time, little enough to hold


@dataclass(slots=True, eq=False)
class SpeedSample:
    """The first pictures with faces, held for the timing.

    Args:
        pictures: with their detections.
        faces: in them.
        pixels: in them.
    """

    pictures: list[tuple[DecodedImage, Detections]] = field(default_factory=list)
    faces: int = 0
    pixels: int = 0

    def offer(self, image: DecodedImage, detections: Detections) -> None:
        """Keeps the picture if there is room; always the first one."""
        size = image.width * image.height
        full = self.faces >= _SPEED_FACES or (self.pictures and self.pixels + size > _SPEED_PIXELS)
        if len(detections) and not full:
            self.pictures.append((image, detections))
            self.faces += len(detections)
            self.pixels += size


@dataclass(slots=True, eq=False)
class PictureMeasures:
    """State of the pass.

    Args:
        before: the second detector on the originals; None without one.
        tallies: method -> counts.
        strips: faces for the contact sheets.
        failures: reason -> pictures left out.
        pictures: measured.
    """

    before: Scores | None
    tallies: dict[str, MethodTally]
    strips: StripSample
    failures: Counter[str] = field(default_factory=Counter)
    pictures: int = 0

    def summary(self, method: str) -> dict[str, Any]:
        """The method's sections of the document."""
        tally = self.tallies[method]
        sections: dict[str, Any] = {"treatment": tally.treatment(method)}
        if self.before is not None:
            sections["average_precision"] = tally.precision(self.before)
        return sections


def measure_pictures(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    selection: Selection,
    sample: SpeedSample,
    tick: Callable[[int], None],
) -> PictureMeasures:
    """Detects, treats and scores every chosen picture, a batch at a time.

    Args:
        plan: what is measured.
        storage: where pictures lie.
        instruments: what is measured with.
        selection: the pictures; with ground truth where there is a scorer.
        sample: takes pictures for the timing.
        tick: is told the number of pictures done.
    """
    before = Scores() if instruments.scorer else None
    tallies = {method.name: MethodTally() for method in instruments.methods}
    state = PictureMeasures(before, tallies, StripSample(plan.seed))
    reader = PictureReader(storage, plan.job.limits, state.failures)
    key = plan.run_key("release")
    for batch in reader.batches(selection.iterate(), plan.job.detect.batch_size):
        pictures = search(instruments.detector, batch, state.failures)
        for picture in pictures:
            sample.offer(picture.image, picture.detections)
        _measure(state, pictures, instruments, key)
        state.pictures += len(pictures)
        tick(len(batch))
    return state


def _measure(state: PictureMeasures, pictures: Sequence[SearchedPicture], instruments: Instruments, key: bytes) -> None:
    if instruments.scorer is not None and state.before is not None:
        found = _scored(instruments.scorer, [picture.image for picture in pictures])
        for picture, detections in zip(pictures, found, strict=True):
            _add(state.before, picture, detections)
    outputs: list[dict[str, PixelArray | None]] = [{} for _ in pictures]
    for method in instruments.methods:
        results = method.treat([(picture.image, picture.detections) for picture in pictures], key)
        tally = state.tallies[method.name]
        for cells, result in zip(outputs, results, strict=True):
            tally.count(result)
            cells[method.name] = None if result is None else result.pixels
        if instruments.scorer is not None:
            _score_outputs(tally.scores, instruments.scorer, pictures, results)
    for picture, cells in zip(pictures, outputs, strict=True):
        regions = instruments.methods[0].regions(picture.image, picture.detections)
        state.strips.offer(picture.image.pixels, cells, regions)


def _score_outputs(
    scores: Scores,
    scorer: Detector,
    pictures: Sequence[SearchedPicture],
    results: Sequence[AnonymizedImage | None],
) -> None:
    """A withheld picture is not in the release: nothing is found in it."""
    there = [
        replace(picture.image, pixels=result.pixels)
        for picture, result in zip(pictures, results, strict=True)
        if result is not None
    ]
    found = iter(_scored(scorer, there))
    for picture, result in zip(pictures, results, strict=True):
        _add(scores, picture, Detections.empty() if result is None else next(found))


def _scored(scorer: Detector, images: Sequence[DecodedImage]) -> list[Detections]:
    found = scorer.detect(images)
    return [clip_detections(own, image.width, image.height) for own, image in zip(found, images, strict=True)]


def _add(scores: Scores, picture: SearchedPicture, found: Detections) -> None:
    truth = picture.row.regions
    if truth is None:
        return
    chosen = clip_detections(picture.detections, picture.image.width, picture.image.height)
    scores.add(found, truth, treated_truth(chosen, truth))


def measure_speed(plan: EvaluationPlan, method: Method, sample: SpeedSample) -> dict[str, Any]:
    """Faces a second of the method alone, and of its ladder with the check of every result.

    Faces that the method refuses do not count for it alone.
    """
    size = plan.job.detect.batch_size
    prepared = [(image, method.regions(image, detections)) for image, detections in sample.pictures]
    batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
    key = plan.run_key("speed")
    treated = sum(len(result.methods) for batch in batches for result in method.alone.anonymize(batch, key))
    longer = [max(r.extent[2] - r.extent[0], r.extent[3] - r.extent[1]) for _, regions in prepared for r in regions]
    figures: dict[str, Any] = {
        "pictures": len(prepared),
        "median_region_px": float(np.median(longer)),
        "batch_size": size,
        "threads": plan.threads,
        "device": plan.device,
        "alone": None,
    }
    if treated:
        alone = time_passes(lambda batch: method.alone.anonymize(batch, key), batches, treated)
        figures["alone"] = alone.summary()
    with_checks = time_passes(lambda batch: method.ladder.anonymize(batch, key), batches, sample.faces)
    return {**figures, "with_checks": with_checks.summary()}
