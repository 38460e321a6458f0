"""Samples to files, one writer a format. None of them is given any metadata to write."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, features

from anon_batch.imaging.jpeg.markers import read_header, strip_jpeg
from anon_batch.imaging.metadata.strip import webp_chunks
from anon_batch.imaging.modes import Samples, filled_up, to_8_bits
from anon_batch.records import DecodedImage, PixelArray

Quality = Literal["keep"] | int
JPEG_QUALITY = 92
WEBP_QUALITY = 90
# Pillow's numbers, by the sampling factors of luma and of both chroma components.
_SUBSAMPLING: dict[tuple[tuple[int, int], ...], int] = {
    ((1, 1), (1, 1)): 0,
    ((2, 1), (1, 1)): 1,
    ((2, 2), (1, 1)): 2,
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What is to be written.

    Args:
        native: upright samples in `mode`.
        mode: as DecodedImage.native_mode.
        pixels: (H, W, 3) uint8 RGB of the same, transparency over mid-grey.
        palette: (N, 4) uint8 RGBA of mode P.
        origin: the picture that was read: its format, tables, sampling.
    """

    native: Samples
    mode: str
    pixels: PixelArray
    palette: PixelArray | None
    origin: DecodedImage


def write_picture(picture: Picture, target: str, quality: Quality) -> bytes:
    """The file.

    Args:
        picture: the samples.
        target: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
        quality: 1..100 for the lossy formats; `keep` takes a JPEG's own tables and sampling.

    Raises:
        ValueError: this format cannot hold the picture.
    """
    writers = {"JPEG": _write_jpeg, "PNG": _write_png, "WEBP": _write_webp, "AVIF": _write_avif}
    if target in writers:
        return writers[target](picture, quality)
    return _write_lossless(picture, target)


def is_lossless_webp(data: bytes) -> bool:
    """Whether a file is a WebP whose picture is coded without loss (a VP8L chunk)."""
    return data[8:12] == b"WEBP" and any(chunk.name == b"VP8L" for chunk in webp_chunks(data))


def _write_jpeg(picture: Picture, quality: Quality) -> bytes:
    """Grey, CMYK and RGB keep their components; everything else becomes RGB, transparency over mid-grey, 16
    bits as 8.
    """
    if picture.mode in ("L", "CMYK"):
        image = _image(picture.native, picture.mode)
    elif picture.mode in ("1", "I;16"):
        image = _image(np.ascontiguousarray(picture.pixels[..., 0]), "L")
    else:
        image = _image(picture.pixels, "RGB")
    options: dict[str, Any] = {"subsampling": 0, "quality": JPEG_QUALITY if quality == "keep" else quality}
    if picture.origin.format == "JPEG":
        header = read_header(picture.origin.source)
        finest = header.components[0]
        sampling = {(c.horizontal, c.vertical) for c in header.components[1:]}
        if len(sampling) == 1:
            # Others than Pillow can write (4:4:0, 4:1:1) keep all their chroma.
            options["subsampling"] = _SUBSAMPLING.get(((finest.horizontal, finest.vertical), *sampling), 0)
        if quality == "keep" and all(c.table in header.tables for c in header.components[:2]):  # lossless has none
            del options["quality"]
            options["qtables"] = [list(header.tables[c.table]) for c in header.components[:2]]
    return strip_jpeg(_saved(image, "JPEG", optimize=True, **options))


def _write_png(picture: Picture, quality: Quality) -> bytes:
    """Any mode but CMYK, which becomes RGB."""
    del quality  # always lossless
    if picture.mode in ("RGB;16", "RGBA;16"):
        return _wide(picture, ".png")
    if picture.mode == "CMYK":
        return _saved(_image(picture.pixels, "RGB"), "PNG")
    palette = picture.palette
    seen_through = palette is not None and bool((palette[:, 3] < 255).any())
    options = {"transparency": palette[:, 3].tobytes()} if palette is not None and seen_through else {}
    return _saved(_with_palette(picture), "PNG", **options)


def _write_webp(picture: Picture, quality: Quality) -> bytes:
    """RGB, or RGBA where there is transparency; a lossless WebP stays lossless."""
    image = _colour(picture)
    if is_lossless_webp(picture.origin.source):
        return _saved(image, "WEBP", lossless=True, exact=True)
    return _saved(image, "WEBP", quality=WEBP_QUALITY if quality == "keep" else quality)


def _write_avif(picture: Picture, quality: Quality) -> bytes:
    if not features.check("avif"):
        raise ValueError("this build of Pillow writes no AVIF")
    chosen = WEBP_QUALITY if quality == "keep" else quality
    return _saved(_colour(picture), "AVIF", quality=chosen, subsampling="4:4:4")


def _write_lossless(picture: Picture, target: str) -> bytes:
    if target == "TIFF":
        if picture.mode == "RGB;16":
            return _wide(picture, ".tiff")
        return _saved(_with_palette(picture), "TIFF", compression="tiff_adobe_deflate")
    if target == "GIF":
        clear = [] if picture.palette is None else np.flatnonzero(picture.palette[:, 3] == 0).tolist()
        options = {"transparency": clear[0]} if clear else {}
        return _saved(_with_palette(picture), "GIF", optimize=False, **options)
    return _saved(_with_palette(picture), target)


def _colour(picture: Picture) -> Image.Image:
    """RGB or RGBA of 8 bits."""
    native, mode = picture.native, picture.mode
    if mode == "RGBA":
        return _image(native, "RGBA")
    if mode == "LA":
        return _image(np.ascontiguousarray(native[..., [0, 0, 0, 1]]), "RGBA")
    if mode == "RGBA;16":
        return _image(to_8_bits(native), "RGBA")
    if picture.palette is not None and bool((picture.palette[:, 3] < 255).any()):
        return _image(filled_up(picture.palette)[native], "RGBA")
    return _image(picture.pixels, "RGB")


def _with_palette(picture: Picture) -> Image.Image:
    image = _image(picture.native, picture.mode)
    if picture.palette is not None:
        named = max(len(picture.palette), int(picture.native.max()) + 1)
        image.putpalette(filled_up(picture.palette)[:named, :3].tobytes(), "RGB")
    return image


def _image(samples: Samples, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(samples)
    height, width = samples.shape[:2]
    little = samples.astype("<u2") if mode == "I;16" else samples
    return Image.frombytes(mode, (width, height), little.tobytes())


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002  Pillow's word
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _wide(picture: Picture, suffix: str) -> bytes:
    order = cv2.COLOR_RGB2BGR if picture.native.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture.native, order))
    if not done:
        raise ValueError(f"no {suffix} of {picture.mode}")
    return bytes(data.tobytes())
