"""Photographs made from the photographs: without faces, and of 12 megapixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from anon_batch.imaging.decode import decode
from anon_batch.records import BoolArray, FloatArray, PixelArray
from benchmarks.accuracy import Find
from benchmarks.pictures import Source

LARGE_PIXELS = 12_000_000
_LARGE_QUALITY, _FACELESS_QUALITY = 90, 95
_GRAIN_LEVELS = 4.0  # with it the files are as long as a camera's, 2.5 MB, and as slow to decode
_PASSES = 12
_EXPANSION = 1.6  # hair and chin make a face too
_RIM_PX = 4


def without_faces(sources: Sequence[Source], folder: Path, finders: Sequence[Find]) -> tuple[list[Source], float]:
    """Copies in which every labelled and every found face is covered by the mean colour around it.

    Each copy is searched again as the file that it has become, and what is found is covered again; photographs in which
    something is found after `_PASSES` passes are left out.

    Args:
        sources: photographs.
        folder: does not exist yet.
        finders: detectors; what any of them finds is covered.

    Returns:
        The copies, labelled as without faces, and the share of their pixels that is covered.
    """
    folder.mkdir(parents=True)
    kept, covered = [], []
    for number, source in enumerate(sources):
        path = folder / f"{number:05d}.jpg"
        share = _blanked(source, path, finders)
        if share is None:
            path.unlink()
        else:
            kept.append(Source(path, np.zeros((0, 5), np.float32)))
            covered.append(share)
    return kept, float(np.mean(covered)) if covered else 0.0


def _blanked(source: Source, path: Path, finders: Sequence[Find]) -> float | None:
    """Writes one copy; the share that is covered, or None where something is still found."""
    pixels = _pixels_of(source.path)
    hidden = np.zeros(pixels.shape[:2], np.bool_)
    boxes = np.zeros((0, 4), np.float32) if source.faces is None else source.faces[:, :4]
    for _ in range(_PASSES):
        _cover(pixels, hidden, boxes)
        _write(path, pixels, _FACELESS_QUALITY)
        boxes = np.concatenate([find(path).boxes for find in finders])
        if not len(boxes):
            return float(hidden.mean())
    return None


def _cover(pixels: PixelArray, hidden: BoolArray, boxes: FloatArray) -> None:
    height, width = hidden.shape
    for x1, y1, x2, y2 in boxes.tolist():
        grow_x, grow_y = (_EXPANSION - 1) / 2 * (x2 - x1), (_EXPANSION - 1) / 2 * (y2 - y1)
        left, top = max(0, int(x1 - grow_x)), max(0, int(y1 - grow_y))
        right, bottom = min(width, int(x2 + grow_x) + 1), min(height, int(y2 + grow_y) + 1)
        wide = pixels[max(0, top - _RIM_PX) : bottom + _RIM_PX, max(0, left - _RIM_PX) : right + _RIM_PX]
        inside = pixels[top:bottom, left:right]
        rim_px = wide.shape[0] * wide.shape[1] - inside.shape[0] * inside.shape[1]
        rim = wide.sum((0, 1), np.int64) - inside.sum((0, 1), np.int64)
        pixels[top:bottom, left:right] = rim // rim_px if rim_px else 128  # no rim: the box is the picture
        hidden[top:bottom, left:right] = True


def enlarged(sources: Sequence[Source], folder: Path) -> list[Source]:
    """Copies of 12 megapixels with their labels: enlarged by bicubic interpolation, with grain as a sensor's (grey Gaussian noise
    of 4 levels), as JPEG of quality 90.

    Args:
        sources: photographs.
        folder: does not exist yet.
    """
    folder.mkdir(parents=True)
    large = []
    for number, source in enumerate(sources):
        pixels = _pixels_of(source.path)
        height, width = pixels.shape[:2]
        factor = float(np.sqrt(LARGE_PIXELS / (height * width)))
        size = (round(width * factor), round(height * factor))
        path = folder / f"{number:05d}.jpg"
        wide = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.float32)
        grain = np.random.default_rng(number).standard_normal((*wide.shape[:2], 1), np.float32) * _GRAIN_LEVELS
        _write(path, np.clip(wide + grain, 0, 255).astype(np.uint8), _LARGE_QUALITY)
        faces = source.faces
        if faces is not None:
            faces = faces * np.array([size[0] / width, size[1] / height] * 2 + [1], np.float32)
        large.append(Source(path, faces))
    return large


def _pixels_of(path: Path) -> PixelArray:
    return decode(path.name, path.read_bytes()).pixels.copy()


def _write(path: Path, pixels: PixelArray, quality: int) -> None:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"{path}: OpenCV cannot encode {pixels.shape}")
    path.write_bytes(data.tobytes())
