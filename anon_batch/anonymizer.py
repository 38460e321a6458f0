"""Images in, outcomes out: detect, render new pixels over every region, check the result. No files are read or written.

    from anon_batch import Anonymizer

    anonymizer = Anonymizer(policy="pixelate")
    pixels = anonymizer.anonymize_array(pixels)   # (H, W, 3) uint8 RGB
    data = anonymizer.anonymize_bytes(data)       # a JPEG, PNG, WebP, ... file

Every error ends in a `Withheld` outcome of the image that it belongs to. No path returns the pixels of an image that has a
detection which was not anonymized.
"""

from __future__ import annotations

import secrets
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
from anon_batch.detect.kept import kept_by_owner
from anon_batch.errors import ConfigError, FailedError, RowError, WithheldError
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Anonymized, Clean, Outcome, Withheld
from anon_batch.records import (
    AnonymizedImage,
    Detections,
    EncodedImage,
    GroundTruth,
    PixelArray,
    Region,
)
from anon_batch.storage import Storage

MAX_CHECK_ROUNDS = 2  # times that an image check may add regions before the image is withheld
MIN_KEY_BYTES = 16

Timer = Callable[[str], AbstractContextManager[None]]


@dataclass(slots=True, eq=False)
class _Item:
    """One image on its way through an `Anonymizer`. A step that fails sets `error`, and later steps skip the image."""

    source: SourceImage
    ground_truth: GroundTruth | None = None
    detections: Detections | None = None
    regions: tuple[Region, ...] = ()
    result: AnonymizedImage | None = None
    error: RowError | None = None
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)


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
        loaded = load_checks(self._config.checks, self._runtime)
        self.ladder = build_ladder(self._config.anonymize, self._runtime, loaded.of_regions)
        self.image_checks = loaded.of_images

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
            ground_truth: boxes for the detector `manifest`, and regions to keep; px of the upright image.

        Returns:
            One outcome for each image, in order: `Clean`, `Anonymized` or `Withheld`.

        Raises:
            ValueError: there are not as many ids or ground truths as images, or an array is not (H, W, 3) uint8.
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
        """
        if isinstance(image, SourceImage):
            return image
        if isinstance(image, np.ndarray):
            return SourceImage.from_array(image_id, image)
        limits = self._config.limits
        try:
            return SourceImage.open(image_id, image, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
        except RowError as exc:
            return Withheld(image_id, exc)
        except Exception:
            return Withheld(image_id, FailedError("decode", traceback.format_exc()))

    def decode(self, source: SourceImage) -> Withheld | None:
        """Decode what the detectors will see, ahead of `process`. Other threads may call it, one for each image.

        Returns:
            None, or the outcome of an image that cannot be decoded.
        """
        try:
            source.preview(self._config.detect.max_side_px)
        except RowError as exc:
            return Withheld(source.image_id, exc)
        except Exception:
            return Withheld(source.image_id, FailedError("decode", traceback.format_exc()))
        return None

    def detect(
        self, sources: Sequence[SourceImage], ground_truth: Sequence[GroundTruth | None] | None = None
    ) -> list[Detections | Withheld]:
        """Return the detections in each image, or the outcome of an image that cannot be decoded or searched.

        Args:
            sources: the images.
            ground_truth: boxes for the detector `manifest`.
        """
        truths: Sequence[GroundTruth | None] = [None] * len(sources) if ground_truth is None else ground_truth
        items = [_Item(source, truth) for source, truth in zip(sources, truths, strict=True)]
        self._decode(items)
        self._detect(items)
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
    ) -> list[Outcome]:
        """Anonymize opened images. Whatever is wrong with an image ends in its own outcome; nothing is raised.

        Args:
            sources: the images.
            ground_truth: as for `__call__`.
            detections: what to anonymize in each image, instead of running the detectors; px of the upright image.
            timer: called with `decode`, `detect` and `anonymize`; measures what runs inside the context that it returns.
        """
        truths: Sequence[GroundTruth | None] = [None] * len(sources) if ground_truth is None else ground_truth
        given: Sequence[Detections | None] = [None] * len(sources) if detections is None else detections
        items = [_Item(*parts) for parts in zip(sources, truths, given, strict=True)]
        with timer("decode"):
            self._decode(items)
        with timer("detect"):
            self._detect(items)
        with timer("decode"):
            for item in items:
                self._open_regions(item)
        with timer("anonymize"):
            self._anonymize(items)
            self._check_images(items)
        return [self._outcome(item) for item in items]

    def encode(self, outcome: Clean | Anonymized) -> EncodedImage | Withheld:
        """Encode an outcome as the job's section `write` says. Nothing is raised."""
        write, source = self._config.write, outcome.source
        try:
            if isinstance(outcome, Clean):
                return encode_clean(source, write.format, write.quality)
            encoded = encode_anonymized(source.decode(), outcome.result, write.format, write.quality)
            if encoded.data == source.data and not np.array_equal(outcome.pixels, source.decode().pixels):
                raise WithheldError("encode", "the output is the source")
        except RowError as exc:
            return Withheld(source.image_id, exc, outcome.detections, outcome.checks)
        except Exception:
            error = WithheldError("encode", traceback.format_exc())
            return Withheld(source.image_id, error, outcome.detections, outcome.checks)
        return encoded

    def _decode(self, items: Sequence[_Item]) -> None:
        """Decode what the detectors will see."""
        for item in items:
            if item.detections is None and (undecoded := self.decode(item.source)) is not None:
                item.error = undecoded.error

    def _detect(self, items: Sequence[_Item]) -> None:
        """Search all images in one call; if that fails, one by one, so that only the culprit is withheld."""
        open_items = [item for item in items if item.error is None and item.detections is None]
        if not open_items:
            return
        try:
            self._detect_in_one_call(open_items)
        except Exception:
            for item in open_items:
                try:
                    self._detect_in_one_call([item])
                except RowError as exc:
                    item.error = exc
                except Exception:
                    item.error = WithheldError("detect", traceback.format_exc())

    def _detect_in_one_call(self, items: Sequence[_Item]) -> None:
        previews = [item.source.preview(self._config.detect.max_side_px) for item in items]
        found = list(self.detector.detect(previews, [item.ground_truth for item in items]))
        if len(found) != len(items):  # because it is unknown which image a result belongs to
            raise WithheldError("detect", f"{len(found)} results for {len(items)} images")
        if wrong := {type(own).__name__ for own in found if not isinstance(own, Detections)}:
            raise WithheldError("detect", f"detector {self.detector.name} returned {wrong}, expected Detections")
        for item, detections in zip(items, found, strict=True):
            item.detections = detections

    def _open_regions(self, item: _Item) -> None:
        """Choose the regions of an image. Decode its pixels if they are going to be needed."""
        if item.error is not None or item.detections is None:
            return
        source = item.source
        try:
            regions = self.ladder.policy.regions_of(item.detections, source.width, source.height)
            if len(regions) != len(item.detections):
                raise WithheldError("incomplete", f"{len(regions)} regions for {len(item.detections)} detections")
            kept = kept_by_owner(item.detections, item.ground_truth)
            item.regions = tuple(region for region in regions if not kept[region.index])
            if item.regions or self.image_checks:
                source.decode()
        except RowError as exc:
            item.error = exc
        except Exception:
            item.error = WithheldError("detect", traceback.format_exc())

    def _anonymize(self, items: Sequence[_Item]) -> None:
        """Render and compose the regions of all images; the ladder withholds the images where that fails."""
        work = [item for item in items if item.error is None and item.regions]
        if not work:
            return
        try:
            results = self.ladder.anonymize([(item.source.decode(), item.regions) for item in work], self._key)
            if len(results) != len(work):
                raise WithheldError("anonymize", f"{len(results)} results for {len(work)} images")
        except Exception:
            for item in work:
                item.error = WithheldError("anonymize", traceback.format_exc())
            return
        for item, result in zip(work, results, strict=True):
            item.result = result if isinstance(result, AnonymizedImage) else None
            if isinstance(result, WithheldError):
                item.error = result

    def _check_images(self, items: Sequence[_Item]) -> None:
        """Run the image checks, anonymize what they add, and repeat at most `MAX_CHECK_ROUNDS` times."""
        pending = [item for item in items if item.error is None]
        for rounds_left in range(MAX_CHECK_ROUNDS, -1, -1):
            pending = [item for item in pending if self._check_image(item)]
            if rounds_left:
                self._anonymize(pending)
        for item in pending:
            item.error = item.error or WithheldError(
                "check", f"checks still add regions after {MAX_CHECK_ROUNDS} rounds"
            )

    def _check_image(self, item: _Item) -> bool:
        """Run the image checks on one image. Return whether one added regions, which must be anonymized now."""
        before = len(item.regions)
        for check in self.image_checks:
            if item.error is not None:
                break
            try:
                pixels = item.source.decode().pixels if item.result is None else item.result.pixels
                view = pixels.view()
                view.flags.writeable = False
                [finding] = check.check([(view, item.regions)])
                for name, count in finding.counts.items():
                    item.checks[check.name, name] += count
                if finding.withhold is not None:
                    raise WithheldError("check", f"{check.name}: {finding.withhold}")
                if len(finding.add):
                    self._add_regions(item, finding.add)
            except RowError as exc:
                item.error = exc
            except Exception:
                item.error = WithheldError("check", f"{check.name}: {traceback.format_exc()}")
        return item.error is None and len(item.regions) > before

    def _add_regions(self, item: _Item, added: Detections) -> None:
        """Add regions after the present ones, which keep their indices and so their seeds."""
        item.detections = Detections.merge([item.detections or Detections.empty(), added])
        regions = self.ladder.policy.regions_of(item.detections, item.source.width, item.source.height)
        item.regions = (*item.regions, *regions[len(regions) - len(added) :])

    def _outcome(self, item: _Item) -> Outcome:
        """Return the outcome. Nothing passes by default: an image without an error must have a result for every region."""
        for name, count in ({} if item.result is None else item.result.failures).items():
            item.checks[name, "failed"] += count
        checks: dict[str, dict[str, int]] = {name: {} for name, _ in item.checks}
        for (name, what), count in item.checks.items():
            checks[name][what] = count
        image_id, detections, result = item.source.image_id, item.detections, item.result
        if item.error is None and (detections is None or (result is None and item.regions)):
            item.error = WithheldError("incomplete", "a step gave no result")
        if item.error is not None or detections is None:
            return Withheld(image_id, item.error or WithheldError("incomplete"), detections, checks)
        if result is None:
            return Clean(item.source, detections, checks)
        if missing := [region.index for region in item.regions if region.index not in result.methods]:
            return Withheld(
                image_id, WithheldError("anonymize", f"regions {missing} not anonymized"), detections, checks
            )
        synthetic = frozenset(at for at, method in result.methods.items() if self.ladder.is_synthetic(method))
        return Anonymized(item.source, result, detections, item.regions, synthetic, checks)


def _checked_key(key: bytes) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(f"Anonymizer: key has {len(key)} bytes, expected at least {MIN_KEY_BYTES} secret bytes")
    return key
