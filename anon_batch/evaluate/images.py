"""Measures on the manifest's images: average precision kept, and which method of the ladder anonymized the faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.average_precision import MethodCounts, ScorerStats, anonymized_truth
from anon_batch.evaluate.contact_sheet import FaceSample
from anon_batch.evaluate.samples import ImageReader, Selection
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample
from anon_batch.evaluate.subjects import DetectedImage, Output, detect_faces, labelled_faces, only_faces
from anon_batch.evaluate.utility.of_methods import MethodUtility
from anon_batch.evaluate.wider.lists import WiderLists, wider_key
from anon_batch.geometry import clip_detections
from anon_batch.records import Detections, PixelArray, Preview
from anon_batch.storage import Storage


@dataclass(slots=True, eq=False)
class ImageMeasures:
    """Measures so far.

    Args:
        before: the second detector on the originals; None without one.
        methods: method -> counts.
        sample: faces for the contact sheets.
        failures: reason -> skipped images.
        images: measured.
    """

    before: ScorerStats | None
    methods: dict[str, MethodCounts]
    sample: FaceSample
    failures: Counter[str] = field(default_factory=Counter)
    images: int = 0


def measure_images(
    config: EvaluationConfig,
    storage: Storage,
    setup: Setup,
    selection: Selection,
    speed_sample: SpeedSample,
    appearance: Appearance,
    utility: MethodUtility,
    on_progress: Callable[[int], None],
    wider: WiderLists = MappingProxyType({}),
) -> ImageMeasures:
    """Detect, anonymize and score every chosen image in batches.

    Args:
        config: of the evaluation.
        storage: of the images.
        setup: loaded models.
        selection: the images; with ground truth if there is a scorer.
        speed_sample: gets images for timing.
        appearance: gets the outputs.
        utility: gets the outputs, and what the second detector found.
        on_progress: gets the number of images of each finished batch.
        wider: lists of WIDER FACE, by `wider_key`; empty for another data set.
    """
    counts = {method.name: MethodCounts() for method in setup.methods}
    state = ImageMeasures(ScorerStats() if setup.scorer else None, counts, FaceSample(config.seed))
    reader = ImageReader(storage, config.job.limits, config.allowed(selection.address), state.failures)
    key = config.run_key("release")
    for batch in reader.batches(selection.iterate(), config.job.detect.batch_size):
        images = detect_faces(setup.anonymizer, batch, state.failures)
        for image in images:
            speed_sample.offer(image.image, image.detections)
        _measure_batch(state, images, setup, key, appearance, utility, wider)
        state.images += len(images)
        on_progress(len(batch))
    return state


def _measure_batch(
    state: ImageMeasures,
    images: Sequence[DetectedImage],
    setup: Setup,
    key: bytes,
    appearance: Appearance,
    utility: MethodUtility,
    wider: WiderLists,
) -> None:
    before: Sequence[Detections | None] = [None] * len(images)
    after: list[dict[str, Detections]] = [{} for _ in images]
    if setup.scorer is not None and state.before is not None:
        found = _score(setup.scorer, [_preview(image, image.image.decode().pixels) for image in images])
        for image, detections in zip(images, found, strict=True):
            _add_scores(state.before, image, detections, wider)
        before = found
    outputs: list[dict[str, Output | None]] = [{} for _ in images]
    for method in setup.methods:
        results = method.anonymize([(image.image, image.detections) for image in images], key)
        counts = state.methods[method.name]
        for image, own, result in zip(images, outputs, results, strict=True):
            counts.add(result, image)
            own[method.name] = result
        if setup.scorer is not None:
            found = _score_outputs(counts.scores, setup.scorer, images, results, wider)
            for by_method, detections in zip(after, found, strict=True):
                by_method[method.name] = detections
    for image, own, first, second in zip(images, outputs, before, after, strict=True):
        pixels = image.image.decode().pixels
        cells = {name: None if result is None else result.pixels for name, result in own.items()}
        state.sample.offer(pixels, cells, setup.methods[0].regions(image.image, image.detections))
        appearance.add("images", image.row.image_id, pixels, image.detections, own)
        utility.add(image, own, first, second)


def _score_outputs(
    scores: ScorerStats,
    scorer: Detector,
    images: Sequence[DetectedImage],
    results: Sequence[Output | None],
    wider: WiderLists,
) -> list[Detections]:
    """Score outputs, and return what was found; a withheld image is not in the release and counts as one without detections."""
    outputs = [
        _preview(image, result.pixels) for image, result in zip(images, results, strict=True) if result is not None
    ]
    scored = iter(_score(scorer, outputs))
    found = [Detections.empty() if result is None else next(scored) for result in results]
    for image, own in zip(images, found, strict=True):
        _add_scores(scores, image, own, wider)
    return found


def _preview(image: DetectedImage, pixels: PixelArray) -> Preview:
    return Preview(image.row.image_id, pixels)


def _score(scorer: Detector, images: Sequence[Preview]) -> list[Detections]:
    found = scorer.detect(images)
    return [
        clip_detections(only_faces(own), image.width, image.height) for own, image in zip(found, images, strict=True)
    ]


def _add_scores(scores: ScorerStats, image: DetectedImage, found: Detections, wider: WiderLists) -> None:
    truth = labelled_faces(image.row)
    if truth is None:
        return
    chosen = clip_detections(image.detections, image.image.width, image.image.height)
    scores.add(found, truth, anonymized_truth(chosen, truth), wider.get(wider_key(image.row.image_id)))
