"""The image sets that a benchmark runs on: photographs repeated to a number, without faces, and of 12 megapixels."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[1]
SUFFIXES = (".jpg", ".jpeg", ".png")
_LARGE_PIXELS, _LARGE_QUALITY, _GRAIN_LEVELS = 12_000_000, 90, 4.0  # with grain the files are as long as a camera's
_FACELESS_QUALITY, _FACELESS_PASSES, _EXPANSION = 95, 12, 1.6

Pixels = npt.NDArray[np.uint8]


def find_photographs(folder: Path | None = None) -> list[Path]:
    """Return the photographs in a folder, or those of ANON_BATCH_TEST_DATA, or the sample's.

    Raises:
        FileNotFoundError: there are none.
    """
    data = os.environ.get("ANON_BATCH_TEST_DATA")
    places = (
        [folder] if folder else [*([Path(data) / "photos/images"] if data else []), ROOT / "manifests/sample/photos"]
    )
    for place in places:
        if found := sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES):
            return found
    raise FileNotFoundError(f"no photographs in {places[0]}; name a folder of them with --photos")


def repeat(photographs: list[Path], folder: Path, count: int) -> Path:
    """Fill a new folder with `count` distinctly named hard links to the photographs, or copies, and return it."""
    folder.mkdir(parents=True)
    for at in range(count):
        source = photographs[at % len(photographs)]
        target = folder / f"{at:06d}{source.suffix.lower()}"
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
    return folder


def enlarge(photographs: list[Path], folder: Path) -> list[Path]:
    """Write copies of 12 megapixels: bicubic, with grey Gaussian noise of 4 levels as a sensor has, JPEG quality 90."""
    folder.mkdir(parents=True)
    for at, path in enumerate(photographs):
        pixels = _read(path)
        factor = (_LARGE_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5
        size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
        wide = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        wide += np.random.default_rng(at).standard_normal((*wide.shape[:2], 1), np.float32) * _GRAIN_LEVELS
        _write(folder / f"{at:06d}.jpg", wide.clip(0, 255).astype(np.uint8), _LARGE_QUALITY)
    return sorted(folder.iterdir())


def cover_faces(photographs: list[Path], folder: Path) -> list[Path]:
    """Write copies in which each face that the default detector finds is covered by the mean colour around it.

    A copy is searched again as the file that it has become. Photographs in which something is still found after
    12 passes are left out.
    """
    from anon_batch import Anonymizer

    folder.mkdir(parents=True)
    anonymizer = Anonymizer(policy="solid")
    for at, path in enumerate(photographs):
        pixels, target = _read(path), folder / f"{at:06d}.jpg"
        for _ in range(_FACELESS_PASSES):
            _write(target, pixels, _FACELESS_QUALITY)
            [outcome] = anonymizer([target.read_bytes()])
            boxes = [] if outcome.detections is None else outcome.detections.boxes.tolist()
            if not boxes:
                break
            for box in boxes:
                _cover(pixels, box)
        else:
            target.unlink()
    return sorted(folder.iterdir())


def _cover(pixels: Pixels, box: list[float]) -> None:
    x1, y1, x2, y2 = box
    more_x, more_y = (_EXPANSION - 1) / 2 * (x2 - x1), (_EXPANSION - 1) / 2 * (y2 - y1)
    left, top, right, bottom = (
        max(0, int(x1 - more_x)),
        max(0, int(y1 - more_y)),
        int(x2 + more_x) + 1,
        int(y2 + more_y) + 1,
    )
    around = pixels[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4]
    pixels[top:bottom, left:right] = around.mean(axis=(0, 1)).astype(np.uint8)


def _read(path: Path) -> Pixels:
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise ValueError(f"{path}: OpenCV cannot decode it; leave it out of the folder of photographs")
    return np.asarray(pixels, np.uint8)


def _write(path: Path, pixels: Pixels, quality: int) -> None:
    if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise OSError(f"{path}: OpenCV cannot write it")
