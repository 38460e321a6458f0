"""Photographs for the miniatures of datasets: those of manifests/sample, in the odd forms that the datasets hold."""

from __future__ import annotations

import functools
import io
import json
import warnings
from typing import NamedTuple

from document_blocks import ROOT
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]

_SAMPLE = ROOT / "manifests/sample"
# Begins well and ends in the middle of its first directory, as some do in ImageNet: a TIFF header promises 9 entries.
_BAD_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\x03\0\x01\0\0\0"
_ORIENTATION = 0x0112
# Name -> photograph of the sample, and the mode and format in which it is saved again, if it is.
_NAMES = {
    "plain": ("people/london/003_neutral.jpg", "", ""),
    "bad_exif": ("people/london/007_neutral.jpg", "", ""),
    "cmyk": ("people/london/005_smiling.jpg", "CMYK", "JPEG"),
    "grey": ("people/london/135_grey.jpg", "", ""),
    "crowd": ("people/london/six_people.jpg", "", ""),
    "turned": ("people/grace_hopper.jpg", "", ""),  # EXIF orientation 6, with a place and a comment
    "png": ("people/astronaut.png", "RGBA", "PNG"),  # as n02105855_2933.JPEG, the PNG of ImageNet, four channels
    "lake": ("places/china.jpg", "", ""),
    "cat": ("places/chelsea.png", "RGB", "JPEG"),
    "cup": ("places/coffee.png", "RGB", "JPEG"),
    "rocket": ("places/ROCKET.JPG", "", ""),
}


class Photograph(NamedTuple):
    """An image file.

    Args:
        data: the file.
        faces: x1, y1, x2, y2 in px of the upright image.
        size: width and height of the upright image.
    """

    data: bytes
    faces: list[Box]
    size: tuple[int, int]


@functools.cache
def photographs() -> dict[str, Photograph]:
    """Return name -> photograph: with faces plain, bad_exif, cmyk, grey, crowd, turned, png; without lake, cat, cup, rocket."""
    faces = json.loads((_SAMPLE / "faces.json").read_text(encoding="utf-8"))
    found = {}
    for name, (path, mode, kind) in _NAMES.items():
        data = (_SAMPLE / "photos" / path).read_bytes()
        if kind:
            buffer = io.BytesIO()
            Image.open(io.BytesIO(data)).convert(mode).save(buffer, kind, quality=90)
            data = buffer.getvalue()
        elif name == "bad_exif":
            data = data[:2] + b"\xff\xe1" + (len(_BAD_EXIF) + 2).to_bytes(2, "big") + _BAD_EXIF + data[2:]
        found[name] = Photograph(data, [tuple(box) for box in faces[path]], upright(data).size)
    return found


def small(name: str, longest_px: int) -> Photograph:
    """Return a photograph as a plain JPEG whose longest side is at most `longest_px`, as img2dataset stores images."""
    whole = photographs()[name]
    scale = min(1.0, longest_px / max(whole.size))
    width, height = (round(side * scale) for side in whole.size)
    buffer = io.BytesIO()
    upright(whole.data).convert("RGB").resize((width, height)).save(buffer, "JPEG", quality=90)
    scaled = [tuple(round(value * scale) for value in box) for box in whole.faces]
    return Photograph(buffer.getvalue(), scaled, (width, height))  # type: ignore[arg-type]


def upright(data: bytes) -> Image.Image:
    """Open an image file, with its EXIF orientation applied; an EXIF block that cannot be read has none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Corrupt EXIF data")
        image = Image.open(io.BytesIO(data))
        return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION) else image
