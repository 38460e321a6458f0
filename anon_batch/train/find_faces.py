"""Find training faces in images: detect them, crop them with their context, and cache the crops in the training's output."""

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
from anon_batch.decode_rows import decode_rows
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.errors import ConfigError, StorageError
from anon_batch.manifest import check_rows, open_manifest, rows_from_table
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.names import has_image_suffix
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, ManifestRow, Preview
from anon_batch.storage import Storage, absolute, join
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import CROPS, LISTING, all_inside

FOLDER = "faces"  # in the output folder of the training
REACH = 2.0  # side of a crop in units of the box's longer side
MAX_SIDE_PX = 256
_JPEG_QUALITY = 95
_MESSAGE_EVERY = 1000  # images
_DETECTOR = "centerface"

OnMessage = Callable[[str], None]


def is_crops_folder(address: str) -> bool:
    """Return whether the folder contains crops already."""
    return (Path(address) / LISTING).is_file()


def crops_folders(config: TrainConfig) -> tuple[Path, ...]:
    """Return the folder with the crops of each source of the configuration, existing or not."""
    return tuple(
        Path(address) if is_crops_folder(address) else _cache_folder(config, address) for address in config.faces
    )


def find_faces(config: TrainConfig, on_message: OnMessage) -> None:
    """Crop the faces of all sources that are images, unless that is done already.

    The folder of a source appears as a whole, because an interrupted search starts again.

    Args:
        config: of the training.
        on_message: gets progress messages.

    Raises:
        ConfigError: a source is missing or has no faces.
        ManifestError: a manifest cannot be read.
        StorageError: images cannot be read, or the output cannot be written.
    """
    for address, folder in zip(config.faces, crops_folders(config), strict=True):
        if is_crops_folder(str(folder)):
            continue
        partial = folder.with_name(f".{folder.name}-{os.getpid()}")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / CROPS).mkdir(parents=True)
            _crop_source(partial, address, config, on_message)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
        except OSError as exc:
            raise StorageError(f"cannot write the crops: {exc.strerror or exc}", str(folder)) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _cache_folder(config: TrainConfig, address: str) -> Path:
    """Return a folder named by everything that decides which faces are found."""
    key = json.dumps([absolute(address), config.min_face_px, config.min_score, REACH, MAX_SIDE_PX])
    return config.output / FOLDER / hashlib.sha256(key.encode()).hexdigest()[:12]


def _crop_source(folder: Path, address: str, config: TrainConfig, on_message: OnMessage) -> None:
    storage = Storage()
    rows = _read_rows(storage, address, config.sources.columns)
    detect = DetectConfig(
        detectors=(DetectorConfig(name=_DETECTOR, threshold=config.min_score),), min_side_px=config.min_face_px
    )
    detector = build_detector(
        detect, Runtime(ModelStore(storage, ModelsConfig()), threads=config.threads or os.cpu_count() or 1)
    )
    skipped: Counter[str] = Counter()
    image_count, lines = 0, []
    limits = LimitsConfig()
    allowed = AllowedSources.of_list(config.sources, address)
    decoded = decode_rows(SourceReader(storage, allowed), rows, limits.max_pixels, limits.max_bytes, skipped)
    while images := list(islice(decoded, detect.batch_size)):
        lines += [line for _, image in images for line in _crop_faces(folder, image.decode(), detector)]
        before, image_count = image_count, image_count + len(images)
        if image_count // _MESSAGE_EVERY > before // _MESSAGE_EVERY:
            on_message(f"{address}: {image_count:,} images, {len(lines):,} faces")
    if not lines:
        raise ConfigError(
            f"faces: {address}: no face of at least {config.min_face_px:g} px with a score of at least {config.min_score:g} in "
            f"{image_count:,} images{_reasons(skipped)}; lower min_face_px or min_score, or use other images"
        )
    (folder / LISTING).write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    on_message(f"{address}: {len(lines):,} faces found in {image_count:,} images{_reasons(skipped)}")


def _read_rows(storage: Storage, address: str, renames: Renames) -> Iterator[ManifestRow]:
    if address.endswith(".parquet"):
        manifest = open_manifest(storage, address, renames)
        check_rows(lambda: manifest.iter_tables(FIXED_COLUMNS), manifest.uri)
        return (row for table in manifest.iter_tables(FIXED_COLUMNS) for row in rows_from_table(table, 0))
    folder = absolute(address)
    keys = sorted(info.key for info in storage.list(folder) if has_image_suffix(info.key))
    if not keys:
        raise ConfigError(
            f"faces: no images at {folder}; use a folder with {CROPS}/ and {LISTING}, an image folder or a manifest (.parquet)"
        )
    return (ManifestRow(index, key, join(folder, key)) for index, key in enumerate(keys))


def _crop_faces(folder: Path, image: DecodedImage, detector: Ensemble) -> Iterator[dict[str, Any]]:
    """Write the crops of an image's faces, and yield a line of the listing for each."""
    [found] = detector.detect([Preview(image.image_id, image.pixels)])
    stem = hashlib.sha256(image.image_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    for index, (box, points, score) in enumerate(zip(found.boxes, found.landmarks, found.scores, strict=True)):
        centre, half = (box[:2] + box[2:]) / 2, REACH * float((box[2:] - box[:2]).max()) / 2
        x1, y1 = (max(int(v), 0) for v in np.floor(centre - half))
        x2, y2 = (
            min(int(v), limit) for v, limit in zip(np.ceil(centre + half), (image.width, image.height), strict=True)
        )
        if not (
            np.isfinite(points).all()
            and all_inside(np.concatenate([points, centre[None]]) - (x1, y1), x2 - x1, y2 - y1)
        ):
            continue  # because the image border cuts the face
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
        (folder / CROPS / name).write_bytes(data.tobytes())
        yield {
            "file": name,
            "box": np.concatenate([corner, extent]).round(2).tolist(),
            "lm": marks.round(2).tolist(),
            "score": round(float(score), 3),
        }


def _reasons(skipped: Counter[str]) -> str:
    if not skipped:
        return ""
    return ", skipped: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
