"""What is fuzzed, one function for each target: bytes of an unknown hand in, an exception out where a promise is broken."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from anon_batch.errors import AnonBatchError, FailedError, RowError
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.jpeg.coefficients import SpliceError, read_blocks
from anon_batch.imaging.jpeg.markers import iter_segments, read_jpeg_header
from anon_batch.imaging.jpeg.mcu_patch import McuPatch
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.jpeg.strip import strip_segments
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.orientation import turn_as_stored
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest import build_manifest, open_manifest
from anon_batch.reasons import REASONS
from anon_batch.records import AnonymizedImage, BoolArray, DecodedImage
from anon_batch.storage import Storage

MAX_PIXELS = 1_000_000
_TABLES = ("a.csv", "a.jsonl", "a.tar", "a.parquet", "m.parquet", "a.tsv")


def decode(data: bytes) -> None:
    """Decode and write an image: it fails with a documented reason, or each output is clean and other readers agree."""
    try:
        source = SourceImage.open("a", data, max_pixels=MAX_PIXELS)
        image = source.decode()
    except RowError as exc:
        _require(exc.reason in REASONS, exc.reason)
        return
    assert image.pixels.shape == (source.height, source.width, 3)
    _compare_with_opencv(data, image)
    for make in (lambda: encode_clean(source), lambda: encode_anonymized(image, _blacken(image, _corner(image)))):
        try:
            out = make()
        except RowError as exc:
            _require(exc.reason in REASONS, exc.reason)
            continue
        assert inspect(out.data) == []
        with Image.open(io.BytesIO(out.data)) as again:
            again.load()
            assert sorted(again.size) == sorted((out.width, out.height))


def metadata(data: bytes) -> None:
    """Inspect any bytes, and strip them: a stripped file has nothing after its end, and stays the same."""
    assert isinstance(inspect(data), list)
    for kind in ("JPEG", "PNG", "WEBP"):
        try:
            once = strip(data, kind)
        except FailedError:
            continue
        assert strip(once, kind) == once
        assert not any("bytes after" in finding for finding in inspect(once)), inspect(once)


def dct_splice(data: bytes) -> None:
    """Replace a quarter of a JPEG: every block outside stays as it was."""
    try:
        image = SourceImage.open("a", data, max_pixels=MAX_PIXELS).decode()
    except RowError:
        return
    if image.format != "JPEG":
        return
    touched = _corner(image)
    try:
        out = splice(image, _blacken(image, touched))
    except SpliceError:
        return
    assert inspect(out) == []
    before, after = _plain(image.source), _plain(out)
    header = read_jpeg_header(before)
    components = header.components
    if len(components) == 1:
        components = (components[0]._replace(horizontal=1, vertical=1),)
    mcus = McuPatch.from_mask(turn_as_stored(touched, image.orientation), components)
    old, new = (read_blocks(file, header, components) for file in (before, after))
    for component, first, second in zip(components, old, new, strict=True):
        inside = np.zeros(first.shape[:2], np.bool_)
        for run in mcus.runs:
            rows = slice(run.row * component.vertical, (run.row + 1) * component.vertical)
            inside[rows, run.column * component.horizontal : (run.column + run.columns) * component.horizontal] = True
        assert np.array_equal(first[~inside], second[~inside])


def manifest(data: bytes) -> None:
    """List the images of a table, tar or Parquet file, or read a manifest: only errors with a message."""
    if not data:
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder, _TABLES[data[0] % len(_TABLES)])
        path.write_bytes(data[1:])
        try:
            if path.name == "m.parquet":
                for table in open_manifest(Storage(), str(path)).iter_tables():
                    assert table.schema.names[0] == "image_id"
            else:
                build_manifest(Storage(), [str(path)], f"{folder}/out.parquet")
        except AnonBatchError as exc:
            _require(len(str(exc)) < 5000, "a message of many pages")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "decode": decode,
    "metadata": metadata,
    "splice": dct_splice,
    "manifest": manifest,
}


def _require(kept: bool, what: str) -> None:
    """Raise AssertionError unless a promise is kept."""
    assert kept, what


def _corner(image: DecodedImage) -> BoolArray:
    touched = np.zeros(image.pixels.shape[:2], np.bool_)
    touched[: -(-image.height // 2), : -(-image.width // 2)] = True
    return touched


def _blacken(image: DecodedImage, touched: BoolArray) -> AnonymizedImage:
    return AnonymizedImage(np.where(touched[..., None], np.uint8(0), image.pixels), touched, {})


def _plain(data: bytes) -> bytes:
    return strip_segments(data, iter_segments(data), orientation=1)[0]


def _compare_with_opencv(data: bytes, image: DecodedImage) -> None:
    """Compare the pixels of opaque 8-bit PNGs, whose decoding is exact, with those of another reader."""
    if image.format != "PNG" or image.native is not None or image.orientation != 1 or b"tRNS" in data:
        return
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if other is not None:
        assert np.array_equal(other[..., ::-1], image.pixels)
