"""The scanner of published images finds what is planted, and nothing in plain files."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metadata_scanner import is_release, scan_image, scan_release
from PIL import Image, ImageCms
from pipeline_fixtures import image_bytes, job, release, write_dataset

SECRET = b"a secret beside the pixels"
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


def image(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def exif_with(tag: int, value: object) -> Image.Exif:
    exif = Image.Exif()
    exif[tag] = value
    return exif


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def segment(code: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:2] + struct.pack(">BBH", 0xFF, code, len(content) + 2) + content + data[2:]


def chunk(name: bytes, content: bytes) -> Callable[[bytes], bytes]:
    whole = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return lambda data: data[:33] + whole + data[33:]


def riff(name: bytes) -> Callable[[bytes], bytes]:
    added = name + struct.pack("<I", len(SECRET)) + SECRET
    return lambda data: data[:4] + struct.pack("<I", len(data) + len(added) - 8) + data[8:] + added


def after_the_rows(data: bytes) -> bytes:
    at = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[at - 4 : at])
    packed = zlib.compress(zlib.decompress(data[at + 4 : at + 4 + size]) + SECRET)
    body = b"IDAT" + packed
    return (
        data[: at - 4]
        + struct.pack(">I", len(packed))
        + body
        + struct.pack(">I", zlib.crc32(body))
        + data[at + 8 + size :]
    )


GPS = {1: "N", 2: (1.0, 2.0, 3.0)}
GPS_TAG = {0x8825: 8}
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + SECRET
PLANTED: dict[str, bytes] = {
    **{f"{kind}: bytes after the image": saved(kind) + SECRET for kind in KINDS},
    **{f"{kind}: GPS": saved(kind, exif=exif_with(0x8825, GPS)) for kind in ("JPEG", "PNG", "WEBP", "AVIF")},
    "TIFF: GPS": saved("TIFF", tiffinfo=GPS_TAG),
    **{f"{kind}: camera": saved(kind, exif=exif_with(0x010F, "maker")) for kind in ("JPEG", "PNG", "WEBP", "AVIF")},
    **{f"{kind}: ICC profile": saved(kind, icc_profile=profile()) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")},
    **{f"{kind}: XMP": saved(kind, xmp=XMP) for kind in ("JPEG", "WEBP", "AVIF")},
    "JPEG: thumbnail in EXIF": segment(0xE1, b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\0\0\0\0\x0e" + SECRET)(saved("JPEG")),
    "JPEG: thumbnail in JFXX": segment(0xE0, b"JFXX\0\x10" + SECRET)(saved("JPEG")),
    "JPEG: IPTC": segment(0xED, b"Photoshop 3.0\x008BIM" + SECRET)(saved("JPEG")),
    "JPEG: comment": saved("JPEG", comment=SECRET),
    "JPEG: segment of a maker": segment(0xE7, SECRET)(saved("JPEG")),
    "JPEG: second image": saved("JPEG") + saved("JPEG"),
    "JPEG: orientation and more": segment(
        0xE1, b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0" + SECRET
    )(saved("JPEG")),
    "PNG: text": chunk(b"tEXt", b"k\0" + SECRET)(saved("PNG")),
    "PNG: compressed text": chunk(b"zTXt", b"k\0\0" + zlib.compress(SECRET))(saved("PNG")),
    "PNG: time": chunk(b"tIME", bytes(7))(saved("PNG")),
    "PNG: private chunk": chunk(b"prVt", SECRET)(saved("PNG")),
    "PNG: bytes after the rows": after_the_rows(saved("PNG")),
    "WEBP: chunk": riff(b"ABCD")(saved("WEBP")),
    "GIF: comment": saved("GIF", "P", comment=SECRET),
    "GIF: frames": saved("GIF", "P", save_all=True, append_images=[image("P").rotate(90)]),
    "TIFF: description": saved("TIFF", tiffinfo={270: "secret"}),
    "TIFF: page": saved("TIFF", save_all=True, append_images=[image()]),
    "no image": SECRET,
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    assert scan_image(PLANTED[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_files_are_clean(kind: str, mode: str) -> None:
    assert scan_image(saved(kind, mode)) == []


@pytest.mark.parametrize("options", [{"progressive": True}, {"exif": exif_with(0x0112, 6)}])
def test_plain_jpegs_with_options_are_clean(options: dict[str, Any]) -> None:
    assert scan_image(saved("JPEG", **options)) == []


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_every_layout_of_a_release_is_scanned(tmp_path: Path, layout: str) -> None:
    ids = ["a.png", "b.png", "c.png"]
    write_dataset(str(tmp_path), ids)
    release(job(str(tmp_path), write__layout=layout))
    assert is_release(tmp_path / "out")
    assert scan_release(tmp_path / "out") == []
    plant(tmp_path / "out", layout)
    assert scan_release(tmp_path / "out")


def plant(folder: Path, layout: str) -> None:
    """Put one image with a comment where the first one is."""
    dirty = chunk(b"tEXt", b"k\0" + SECRET)(image_bytes())
    if layout == "files":
        (folder / "images/a.png").write_bytes(dirty)
    elif layout == "webdataset":
        path = next((folder / "shards").iterdir())
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(dirty)
            tar.addfile(info, io.BytesIO(dirty))
    else:
        path = next((folder / "shards").iterdir())
        rows = pq.read_table(path).to_pylist()
        rows[0]["image"]["bytes"] = dirty
        pq.write_table(pa.Table.from_pylist(rows), path)
