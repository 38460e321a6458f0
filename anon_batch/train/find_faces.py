"""Faces for a training out of pictures: found by a detector, cut out with their surroundings, kept beside the training."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anon_batch.config import DetectConfig, DetectorConfig, LimitsConfig, ModelsConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.errors import ConfigError, RowError, StorageError
from anon_batch.imaging.decode import decode
from anon_batch.manifest import check_rows, open_manifest, rows_from_table
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.names import has_image_suffix
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, ManifestRow
from anon_batch.storage import Storage, absolute, join
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import LISTING, PICTURES, inside

FOLDER = "faces"  # in the training's output
REACH = 2.0  # side of a crop in units of the box's longer side
MAX_SIDE_PX = 256
_JPEG_QUALITY = 95
_SAY_EVERY = 1000  # pictures
_DETECTOR = "centerface"

Note = Callable[[str], None]


def is_crops_folder(address: str) -> bool:
    """Whether faces are already cut out there."""
    return (Path(address) / LISTING).is_file()


def crops_folders(config: TrainConfig) -> tuple[Path, ...]:
    """Where the faces of each of the configuration's sources lie, or will lie once they are found."""
    return tuple(Path(address) if is_crops_folder(address) else _cache(config, address) for address in config.faces)


def find_faces(config: TrainConfig, note: Note) -> None:
    """Cuts out the faces of all sources that are pictures, where that is not done yet.

    A source's folder appears whole or not at all, so that an interrupted search begins anew.

    Args:
        config: of the training.
        note: gets a line for what is found.

    Raises:
        ConfigError: a source that is not there or has no face.
        ManifestError: a manifest that cannot be read.
        StorageError: pictures cannot be read, or the output cannot be written.
    """
    for address, folder in zip(config.faces, crops_folders(config), strict=True):
        if is_crops_folder(str(folder)):
            continue
        partial = folder.with_name(f".{folder.name}-{os.getpid()}")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / PICTURES).mkdir(parents=True)
            _fill(partial, address, config, note)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
        except OSError as exc:
            raise StorageError(f"faces cannot be kept: {exc.strerror or exc}", str(folder)) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _cache(config: TrainConfig, address: str) -> Path:
    """Named by what decides which faces are found."""
    told = json.dumps([absolute(address), config.min_face_px, config.min_score, REACH, MAX_SIDE_PX])
    return config.output / FOLDER / hashlib.sha256(told.encode()).hexdigest()[:12]


def _fill(folder: Path, address: str, config: TrainConfig, note: Note) -> None:
    storage = Storage()
    rows = _rows(storage, address)
    found = DetectConfig(
        detectors=(DetectorConfig(name=_DETECTOR, threshold=config.min_score),), min_face_px=config.min_face_px
    )
    detector = build_detector(found, ModelStore(storage, ModelsConfig()), threads=config.threads or os.cpu_count() or 1)
    left_out: Counter[str] = Counter()
    pictures_count, lines = 0, []
    decoded = _decoded(storage, rows, left_out)
    while images := list(islice(decoded, found.batch_size)):
        lines += [line for image in images for line in _cut(folder, image, detector)]
        before, pictures_count = pictures_count, pictures_count + len(images)
        if pictures_count // _SAY_EVERY > before // _SAY_EVERY:
            note(f"{address}: {pictures_count:,} pictures, {len(lines):,} faces")
    if not lines:
        raise ConfigError(
            f"faces: {address}: no face of at least {config.min_face_px:g} px with a score of at least {config.min_score:g} in "
            f"{pictures_count:,} pictures{_reasons(left_out)}; lower min_face_px or min_score, or give other pictures"
        )
    (folder / LISTING).write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    note(f"{address}: {len(lines):,} faces found in {pictures_count:,} pictures{_reasons(left_out)}")


def _rows(storage: Storage, address: str) -> Iterator[ManifestRow]:
    if address.endswith(".parquet"):
        manifest = open_manifest(storage, address)
        check_rows(lambda: manifest.iter_tables(FIXED_COLUMNS), manifest.uri)
        return (row for table in manifest.iter_tables(FIXED_COLUMNS) for row in rows_from_table(table, 0))
    place = absolute(address)
    keys = sorted(info.key for info in storage.list(place) if has_image_suffix(info.key))
    if not keys:
        raise ConfigError(
            f"faces: {place}: no picture is there; give a folder with {PICTURES}/ and {LISTING}, a folder of pictures or a "
            "manifest (.parquet)"
        )
    return (ManifestRow(index, key, join(place, key)) for index, key in enumerate(keys))


def _decoded(storage: Storage, rows: Iterator[ManifestRow], left_out: Counter[str]) -> Iterator[DecodedImage]:
    limits, reader = LimitsConfig(), SourceReader(storage)
    for row in rows:
        try:
            yield decode(row.image_id, reader.read(row, limits.max_bytes), limits)
        except RowError as exc:
            left_out[exc.reason] += 1


def _cut(folder: Path, image: DecodedImage, detector: Ensemble) -> Iterator[dict[str, Any]]:
    """Writes the crops of a picture's faces; yields a line of the listing for each."""
    [found] = detector.detect([image])
    stem = hashlib.sha256(image.image_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    for index, (box, points, score) in enumerate(zip(found.boxes, found.landmarks, found.scores, strict=True)):
        centre, half = (box[:2] + box[2:]) / 2, REACH * float((box[2:] - box[:2]).max()) / 2
        x1, y1 = (max(int(v), 0) for v in np.floor(centre - half))
        x2, y2 = (
            min(int(v), limit) for v, limit in zip(np.ceil(centre + half), (image.width, image.height), strict=True)
        )
        if not (
            np.isfinite(points).all() and inside(np.concatenate([points, centre[None]]) - (x1, y1), x2 - x1, y2 - y1)
        ):
            continue  # a face that the picture's border cuts
        pixels = image.pixels[y1:y2, x1:x2]
        scale = min(MAX_SIDE_PX / max(x2 - x1, y2 - y1), 1.0)
        size = (max(round((x2 - x1) * scale), 1), max(round((y2 - y1) * scale), 1))
        if scale < 1:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        factor = np.array([size[0] / (x2 - x1), size[1] / (y2 - y1)])
        corner, extent = ((box[:2] - (x1, y1)) * factor, (box[2:] - box[:2]) * factor)
        marks = np.clip((points - (x1, y1)) * factor, 0, size)
        name = f"{stem}-{index}.jpg"
        data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        (folder / PICTURES / name).write_bytes(data.tobytes())
        yield {
            "file": name,
            "box": np.concatenate([corner, extent]).round(2).tolist(),
            "lm": marks.round(2).tolist(),
            "score": round(float(score), 3),
        }


def _reasons(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    return ", left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
