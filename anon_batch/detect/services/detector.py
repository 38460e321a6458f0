"""A service as a detector. Whatever it does not answer properly is never published unsearched."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anon_batch.config import DetectConfig
from anon_batch.config.detect import TileConfig
from anon_batch.detect.protocol import FAILURE, checked_detections
from anon_batch.detect.services.calls import Calls, Fault
from anon_batch.detect.services.images import Limits, SentImage, encode_for
from anon_batch.detect.tiling import TiledDetector
from anon_batch.errors import ConfigError, CredentialsError, ServiceUnavailableError, WithheldError
from anon_batch.formats.services import UsedService
from anon_batch.records import DEFAULT_LABEL, Detections, PixelArray, Preview

_KEPT_ANSWERS = 256  # because a batch with an image that fails is repeated in parts, and every request costs
_WINDOW = 0.6  # of the longer side, where an image holds more faces than an answer
_LEAST_PX = 160  # side of a window that is searched in parts


class ServiceDetector:
    """Finds faces by a service.

    Args:
        service: as releases name it.
        calls: to it.
        endpoint: its address, for messages.
        limits: of the files that it takes.
        threshold: lowest score of a face.
        detect: the job's section `detect`.

    Attributes:
        requests: that were needed, without repetitions.

    Raises:
        ConfigError: the service refuses the credentials, or this kind of request.
        ServiceUnavailableError: it does not answer.
    """

    labels = (DEFAULT_LABEL,)

    def __init__(
        self,
        service: UsedService,
        calls: Calls,
        endpoint: str,
        limits: Limits,
        threshold: float,
        detect: DetectConfig,
    ) -> None:
        self.name, self.models = service.name, (service.identity,)
        self._service, self._calls, self._endpoint = service, calls, endpoint
        self._limits, self._threshold, self._detect = limits, threshold, detect
        self._answers: OrderedDict[bytes, tuple[Detections, bool]] = OrderedDict()
        self.requests = 0
        self._grey = encode_for(np.full((limits.min_side_px, limits.min_side_px, 3), 127, np.uint8), limits)
        self._check_access()

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect. Scale and windows of the job have no effect: an image is one request, a crowd several.

        Raises:
            CredentialsError: the service refuses the credentials, so that no further image can be searched.
            ServiceUnavailableError: it answers nobody.
        """
        return [self._find(image.pixels) for image in images]

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find. Scales have no effect."""
        return [self._find(piece) for piece in pieces]

    def _find(self, piece: PixelArray) -> Detections:
        self.requests += 1
        found, is_full = self._answer(encode_for(piece, self._limits))
        return self._find_in_windows(piece, found) if is_full else found

    def _find_in_windows(self, piece: PixelArray, whole: Detections) -> Detections:
        """Search a piece that holds at least as many faces as an answer in windows, each in the same way."""
        height, width = piece.shape[:2]
        if min(height, width) < _LEAST_PX:
            raise WithheldError(
                FAILURE,
                f"{self.name} gave as many faces as it gives at most, in {width} x {height} px: there may be more",
            )
        size = round(_WINDOW * max(height, width))
        config = self._detect.model_copy(update={"tile": TileConfig(size_px=size, overlap_px=size // 4)})
        [found] = TiledDetector(_AfterWhole(self, whole), 1.0, config).detect([Preview("", piece)])
        return found

    def _answer(self, image: SentImage) -> tuple[Detections, bool]:
        """Return the faces in px of the piece, and whether there may be more."""
        key = hashlib.sha256(image.data).digest()
        if key not in self._answers:
            self._answers[key] = self._ask(image)
            if len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
        found, is_full = self._answers[key]
        stretch = np.asarray(image.stretch)
        return (
            replace(
                found,
                boxes=(found.boxes / np.tile(stretch, 2)).astype(np.float32),
                landmarks=(found.landmarks / stretch).astype(np.float32),
            ),
            is_full,
        )

    def _ask(self, image: SentImage) -> tuple[Detections, bool]:
        try:
            faces = self._calls.find_faces(image)
        except Fault as fault:
            raise self._error_of(fault) from None
        found = checked_detections(self.name, faces.boxes, faces.scores, faces.landmarks)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        inside = (found.boxes[:, :2] < [image.width, image.height]).all() and (found.boxes[:, 2:] > 0).all()
        if not (sides > 0).all() or not inside:
            raise WithheldError(FAILURE, f"{self.name} gave a face without area, or beyond the image")
        return found.take(np.asarray(found.scores >= self._threshold, np.bool_)), faces.is_full

    def _error_of(self, fault: Fault) -> Exception:
        """Return how an image ends: alone, or with the run, if the service answers nobody."""
        if fault.kind == "credentials":
            return self._refused(fault)
        if fault.kind in ("throttled", "away"):
            try:
                self._calls.once(self._grey)
            except Fault as now:
                return self._refused(now) if now.kind == "credentials" else self._away(now)
        return WithheldError(FAILURE, f"{self.name}: {fault.kind}: {fault.text}")

    def _refused(self, fault: Fault) -> CredentialsError:
        return CredentialsError(
            f"{self._service.title} refuses the credentials ({fault.text}); renew them where the workers run, then run the "
            "same command again"
        )

    def _away(self, fault: Fault) -> ServiceUnavailableError:
        kind = "throttles every request" if fault.kind == "throttled" else "does not answer"
        return ServiceUnavailableError(f"{self._service.title} {kind} ({fault.text})", self._endpoint)

    def _check_access(self) -> None:
        try:
            self._calls.find_faces(self._grey)
        except Fault as fault:
            if fault.kind in ("throttled", "away"):
                raise self._away(fault) from None
            what = (
                "refuses the credentials" if fault.kind == "credentials" else "refuses or answers wrongly a grey image"
            )
            raise ConfigError(f"detector `{self.name}`: {self._service.title} {what} ({fault.text})") from None


class _AfterWhole:
    """A service whose answer for the first piece, the whole, is known."""

    def __init__(self, detector: ServiceDetector, whole: Detections) -> None:
        self.name, self.models, self.labels = detector.name, detector.models, detector.labels
        self._detector, self._whole = detector, whole

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        return [self._whole, *self._detector.find(pieces[1:], scales[1:])]
