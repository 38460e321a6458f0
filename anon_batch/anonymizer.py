"""Images in, outcomes out: detect, render new pixels over every region, check the result. No files are read or written.

    from anon_batch import Anonymizer

    anonymizer = Anonymizer(policy="pixelate")
    pixels = anonymizer.anonymize_array(pixels)   # (H, W, 3) uint8 RGB
    data = anonymizer.anonymize_bytes(data)       # a JPEG, PNG, WebP, ... file

Every error ends in a `Withheld` outcome of the image that it belongs to. No path returns the pixels of an image that has a
detection which was not anonymized.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Any

import numpy as np

from anon_batch import steps
from anon_batch.anonymize.checks import load_checks
from anon_batch.anonymize.ladder import build_ladder
from anon_batch.config import (
    AnonymizeConfig,
    DetectConfig,
    ImageConfig,
    LimitsConfig,
    ModelsConfig,
    StorageConfig,
    WriteConfig,
    validate,
)
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.given_boxes import GivenBoxes
from anon_batch.errors import ConfigError, FailedError, WithheldError, row_error
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Anonymized, Clean, Outcome, Withheld
from anon_batch.records import (
    Detections,
    EncodedImage,
    GroundTruth,
    Persons,
    PixelArray,
)
from anon_batch.stats.uncovered import LabelledRegions, judge_regions
from anon_batch.storage import Storage

MIN_KEY_BYTES = 16

Timer = Callable[[str], AbstractContextManager[None]]


class Anonymizer:
    """Anonymize images: detect, render new pixels over every region, check the result.

    The arguments are sections of a job file. Python and jobs give equal results for equal sections, image ids and keys.

    Args:
        detect: section `detect`, or the name of one detector. None uses the job file's defaults, here and below.
        policy: section `anonymize`, or the name of the method for faces.
        checks: section `checks`.
        write: section `write`, for `encode` and `anonymize_bytes`.
        limits: section `limits`, for files.
        key: at least 16 secret bytes from which all random choices derive. None draws a random key for this object.
        runtime: weights, threads and device. None uses the weights of this package and the model cache, on the CPU.

    Raises:
        ConfigError, UnknownNameError: an argument is wrong; the message names the key and the choices.
        ModelError: weights are missing, or they are not the pinned ones.
    """

    def __init__(
        self,
        detect: str | Mapping[str, Any] | DetectConfig | None = None,
        policy: str | Mapping[str, Any] | AnonymizeConfig | None = None,
        checks: Mapping[str, Any] | None = None,
        *,
        write: Mapping[str, Any] | WriteConfig | None = None,
        limits: Mapping[str, Any] | LimitsConfig | None = None,
        key: bytes | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        sections = {
            "detect": {"detectors": [detect]} if isinstance(detect, str) else detect,
            "anonymize": {"face": {"method": policy}} if isinstance(policy, str) else policy,
            "checks": checks,
            "write": write,
            "limits": limits,
        }
        given = {name: section for name, section in sections.items() if section is not None}
        self._config = validate(ImageConfig, given, "Anonymizer")
        self._runtime = runtime or Runtime(ModelStore(Storage(StorageConfig()), ModelsConfig()))
        self._key = _checked_key(secrets.token_bytes(32) if key is None else key)
        self.detector = build_detector(self._config.detect, self._runtime)
        loaded = load_checks(self._config.checks, self._runtime, self._config.detect)
        self.ladder = build_ladder(self._config.anonymize, self._runtime, loaded.of_regions)
        self.image_checks = loaded.of_images
        self._given_boxes = GivenBoxes.of_job(self._config.detect)

    @classmethod
    def from_config(cls, config: ImageConfig, runtime: Runtime, key: bytes) -> Anonymizer:
        """Return the anonymizer of a job.

        Args:
            config: the job's sections.
            runtime: weights, threads and device.
            key: the run's secret.

        Raises:
            ConfigError, UnknownNameError, ModelError: as the constructor.
        """
        return cls(
            config.detect,
            config.anonymize,
            config.checks,
            write=config.write,
            limits=config.limits,
            key=key,
            runtime=runtime,
        )

    def with_key(self, key: bytes) -> Anonymizer:
        """Return an anonymizer with another key, which shares the loaded models.

        Raises:
            ConfigError: the key is too short.
        """
        other = object.__new__(Anonymizer)
        other.__dict__.update(self.__dict__)
        other._key = _checked_key(key)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle settings and key instead of the loaded models. The copy loads them again and gives equal results."""
        return Anonymizer.from_config, (self._config, self._runtime, self._key)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that detectors, methods and checks use, each once."""
        parts = (
            *self.detector.models,
            *self.ladder.models,
            *(name for c in self.image_checks for name in c.models),
        )
        return tuple(dict.fromkeys(parts))

    @property
    def requests(self) -> dict[str, int]:
        """Number of requests so far to detectors that are services, by name."""
        counts = Counter(self.detector.requests)
        for check in self.image_checks:
            counts.update(getattr(check, "requests", {}))
        return dict(counts)

    def __call__(
        self,
        images: Iterable[PixelArray | bytes | SourceImage],
        image_ids: Sequence[str] | None = None,
        ground_truth: Sequence[GroundTruth | None] | None = None,
    ) -> list[Outcome]:
        """Anonymize images.

        Args:
            images: each (H, W, 3) uint8 RGB pixels, the bytes of an image file, or a `SourceImage`.
            image_ids: random choices derive from key and id. None uses the position, "0", "1", ...
            ground_truth: boxes for the detector `manifest`, and regions to keep; px of the upright image, or shares of its sides
                if their `size` is (1, 1).

        Returns:
            One outcome for each image, in order: `Clean`, `Anonymized` or `Withheld`.

        Raises:
            CredentialsError, ServiceUnavailableError: a detector that is a service can search no image.
            ValueError: there are not as many ids or ground truths as images, or an array is not (H, W, 3) uint8.
            TypeError: an image is something else, e.g. the path of a file.
        """
        listed = list(images)
        ids = [str(position) for position in range(len(listed))] if image_ids is None else image_ids
        truths: Sequence[GroundTruth | None] = [None] * len(listed) if ground_truth is None else ground_truth
        outcomes: dict[int, Outcome] = {}
        sources: dict[int, SourceImage] = {}
        for at, (image, image_id, _) in enumerate(zip(listed, ids, truths, strict=True)):
            opened = self.open(image_id, image)
            if isinstance(opened, Withheld):
                outcomes[at] = opened
            else:
                sources[at] = opened
        done = self.process(list(sources.values()), [truths[at] for at in sources])
        outcomes.update(zip(sources, done, strict=True))
        return [outcomes[at] for at in range(len(listed))]

    def anonymize_array(self, pixels: PixelArray, image_id: str = "0") -> PixelArray:
        """Return anonymized pixels, a new (H, W, 3) uint8 RGB array.

        Raises:
            WithheldError, FailedError: the image cannot be anonymized or read; `reason` says why.
        """
        [outcome] = self([pixels], [image_id])
        if isinstance(outcome, Withheld):
            raise outcome.error
        return np.array(outcome.pixels)

    def anonymize_bytes(self, data: bytes, image_id: str = "0") -> bytes:
        """Return the file of an anonymized image, in its own format and without metadata, as a job writes it.

        Raises:
            WithheldError, FailedError: the image cannot be anonymized, read or encoded; `reason` says why.
            TypeError: `data` is not bytes, e.g. the path of a file.
        """
        [outcome] = self([data], [image_id])
        encoded = outcome if isinstance(outcome, Withheld) else self.encode(outcome)
        if isinstance(encoded, Withheld):
            raise encoded.error
        return encoded.data

    def open(self, image_id: str, image: PixelArray | bytes | SourceImage) -> SourceImage | Withheld:
        """Read an image's header and check the limits.

        Raises:
            ValueError: an array is not (H, W, 3) uint8.
            TypeError: the image is something else, e.g. the path of a file.
        """
        if isinstance(image, SourceImage):
            return image
        if isinstance(image, np.ndarray):
            return SourceImage.from_array(image_id, image)
        if not isinstance(image, (bytes, bytearray, memoryview)):
            hint = "; read the file first" if isinstance(image, (str, PathLike)) else ""
            raise TypeError(f"expected bytes, an array or a SourceImage, got {type(image).__name__}{hint}")
        limits = self._config.limits
        try:
            return SourceImage.open(image_id, bytes(image), max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
        except Exception as exc:
            return Withheld(image_id, row_error(exc, FailedError, "decode"))

    def decode(self, source: SourceImage) -> Withheld | None:
        """Decode what the detectors will see, ahead of `process`. Other threads may call it, one for each image.

        Returns:
            None, or the outcome of an image that cannot be decoded.
        """
        error = steps.decode_preview(source, self._config.detect.max_side_px)
        return None if error is None else Withheld(source.image_id, error)

    def detect(
        self, sources: Sequence[SourceImage], ground_truth: Sequence[GroundTruth | None] | None = None
    ) -> list[Detections | Withheld]:
        """Return the detections in each image, or the outcome of an image that cannot be decoded or searched.

        Args:
            sources: the images.
            ground_truth: boxes for the detector `manifest`.
        """
        truths: Sequence[GroundTruth | None] = [None] * len(sources) if ground_truth is None else ground_truth
        items = [steps.new_item(source, truth) for source, truth in zip(sources, truths, strict=True)]
        self._search(items, lambda stage: nullcontext())
        return [
            item.detections
            if item.error is None and item.detections is not None
            else Withheld(item.source.image_id, item.error or WithheldError("incomplete"))
            for item in items
        ]

    def process(
        self,
        sources: Sequence[SourceImage],
        ground_truth: Sequence[GroundTruth | None] | None = None,
        timer: Timer = lambda stage: nullcontext(),
        detections: Sequence[Detections] | None = None,
        drawn: Sequence[Detections | None] | None = None,
        persons: Sequence[Persons | None] | None = None,
    ) -> list[Outcome]:
        """Anonymize opened images. Whatever is wrong with an image ends in its own outcome; nothing is raised.

        Args:
            sources: the images.
            ground_truth: as for `__call__`.
            detections: what to anonymize in each image, instead of running the detectors; px of the upright image.
            timer: called with `decode`, `detect` and `anonymize`; measures what runs inside the context that it returns.
            drawn: what people drew in each image, to anonymize besides what the detectors find.
            persons: whom each image shows, as `ManifestRow.persons`; a person's regions get one seed in all images.
        """
        truths: Sequence[GroundTruth | None] = [None] * len(sources) if ground_truth is None else ground_truth
        given: Sequence[Detections | None] = [None] * len(sources) if detections is None else detections
        items = [steps.new_item(*parts) for parts in zip(sources, truths, given, strict=True)]
        for item, own in zip(items, [None] * len(items) if drawn is None else drawn, strict=True):
            item.drawn = own
        for item, own_persons in zip(items, [None] * len(items) if persons is None else persons, strict=True):
            item.persons = own_persons
        self._search(items, timer)
        with timer("decode"):
            steps.choose_regions(items, self.ladder)
        with timer("anonymize"):
            steps.render(items, self.ladder, self._key)
            steps.check_images(items, self.image_checks, self.ladder, self._key)
        return [steps.finish(item, self.ladder) for item in items]

    def encode(self, outcome: Clean | Anonymized) -> EncodedImage | Withheld:
        """Encode an outcome as the job's section `write` says. Nothing is raised."""
        write, source = self._config.write, outcome.source
        try:
            if isinstance(outcome, Clean):
                return encode_clean(source, write.format, write.quality)
            synthetic = bool(outcome.synthetic)
            marked = synthetic and write.mark_generated
            encoded = encode_anonymized(source.decode(), outcome.result, write.format, write.quality, marked=marked)
            encoded = dataclasses.replace(encoded, synthetic=synthetic)
            if encoded.data == source.data and not np.array_equal(outcome.pixels, source.decode().pixels):
                raise WithheldError("encode", "the output is the source")
        except Exception as exc:
            error = row_error(exc, WithheldError, "encode")
            return Withheld(source.image_id, error, outcome.detections, outcome.checks)
        return encoded

    def judge(self, outcome: Clean | Anonymized, ground_truth: GroundTruth) -> LabelledRegions:
        """Return which labelled regions the masks of an outcome cover."""
        regions = outcome.regions if isinstance(outcome, Anonymized) else ()
        preview = outcome.source.preview(self._config.detect.max_side_px)
        truth = ground_truth.in_pixels(outcome.source.width, outcome.source.height)
        return judge_regions(truth, regions, outcome.detections, preview)

    def _search(self, items: Sequence[steps.Item], timer: Timer) -> None:
        """Decode and search the images that have no detections yet."""
        max_side_px = self._config.detect.max_side_px
        with timer("decode"):
            for item in items:
                if item.detections is None:
                    item.error = steps.decode_preview(item.source, max_side_px)
        steps.check_given_boxes(items, self._given_boxes)
        with timer("detect"):
            steps.detect(items, self.detector, max_side_px)


def _checked_key(key: bytes) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(f"Anonymizer: key has {len(key)} bytes, expected at least {MIN_KEY_BYTES} secret bytes")
    return key
