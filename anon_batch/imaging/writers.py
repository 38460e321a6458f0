"""Write samples to files, one writer for each format. None of them is given metadata to write, but for an AVIF's mark."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, features

from anon_batch.imaging.jpeg.markers import read_jpeg_header
from anon_batch.imaging.jpeg.strip import strip_jpeg
from anon_batch.imaging.metadata.mark import PACKET, add_mark
from anon_batch.imaging.metadata.strip import webp_chunks
from anon_batch.imaging.modes import Raster, Samples, pad_palette, to_8_bits
from anon_batch.records import DecodedImage

Quality = Literal["keep"] | int
JPEG_QUALITY = 92
WEBP_QUALITY = 90
# Pillow's numbers, by the sampling factors of luma and of both chroma components.
_SUBSAMPLING: dict[tuple[tuple[int, int], ...], int] = {
    ((1, 1), (1, 1)): 0,
    ((2, 1), (1, 1)): 1,
    ((2, 2), (1, 1)): 2,
}


def write_image(raster: Raster, origin: DecodedImage, target: str, quality: Quality, *, marked: bool = False) -> bytes:
    """Return the file.

    Args:
        raster: upright samples.
        origin: the image that was read; its format, tables and sampling are kept where the target can hold them.
        target: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
        quality: 1..100 for the lossy formats; `keep` takes a JPEG's own tables and sampling.
        marked: whether the file gets the mark of generated content, where the format can hold one.

    Raises:
        ValueError: this format cannot hold the image.
    """
    if target == "AVIF":
        return _write_avif(raster, quality, {"xmp": PACKET} if marked else {})
    data = _write(raster, origin, target, quality)
    return add_mark(data, target) if marked else data


def _write(raster: Raster, origin: DecodedImage, target: str, quality: Quality) -> bytes:
    if target == "JPEG":
        return _write_jpeg(raster, origin, quality)
    if target == "PNG":
        return _write_png(raster)
    if target == "WEBP":
        return _write_webp(raster, origin, quality)
    return _write_lossless(raster, target)


def is_lossless_webp(data: bytes) -> bool:
    """Return whether a file is a WebP that is coded without loss (a VP8L chunk)."""
    return data[8:12] == b"WEBP" and any(chunk.name == b"VP8L" for chunk in webp_chunks(data))


def _write_jpeg(raster: Raster, origin: DecodedImage, quality: Quality) -> bytes:
    """Keep the components of grey, CMYK and RGB; write all else as RGB with transparency over mid-grey and 8 bits."""
    if raster.mode in ("L", "CMYK"):
        image = _to_image(_native(raster), raster.mode)
    elif raster.mode in ("1", "I;16"):
        image = _to_image(np.ascontiguousarray(raster.pixels[..., 0]), "L")
    else:
        image = _to_image(raster.pixels, "RGB")
    return strip_jpeg(_save(image, "JPEG", optimize=True, **_jpeg_options(origin, quality)))


def _jpeg_options(origin: DecodedImage, quality: Quality) -> dict[str, Any]:
    options: dict[str, Any] = {"subsampling": 0, "quality": JPEG_QUALITY if quality == "keep" else quality}
    if origin.format != "JPEG":
        return options
    header = read_jpeg_header(origin.source)
    finest = header.components[0]
    sampling = {(c.horizontal, c.vertical) for c in header.components[1:]}
    if len(sampling) == 1:
        # Samplings that Pillow cannot write (4:4:0, 4:1:1) keep all their chroma.
        options["subsampling"] = _SUBSAMPLING.get(((finest.horizontal, finest.vertical), *sampling), 0)
    if quality == "keep" and all(c.table in header.tables for c in header.components[:2]):  # lossless has none
        del options["quality"]
        options["qtables"] = [list(header.tables[c.table]) for c in header.components[:2]]
    return options


def _write_png(raster: Raster) -> bytes:
    """Keep every mode but CMYK, which becomes RGB."""
    if raster.mode in ("RGB;16", "RGBA;16"):
        return _encode_wide(raster, ".png")
    if raster.mode == "CMYK":
        return _save(_to_image(raster.pixels, "RGB"), "PNG")
    palette = raster.palette
    has_alpha = palette is not None and bool((palette[:, 3] < 255).any())
    options = {"transparency": palette[:, 3].tobytes()} if palette is not None and has_alpha else {}
    return _save(_to_own_mode(raster), "PNG", **options)


def _write_webp(raster: Raster, origin: DecodedImage, quality: Quality) -> bytes:
    """Write RGB, or RGBA where there is transparency; a lossless WebP stays lossless."""
    image = _to_8_bit_colour(raster)
    if is_lossless_webp(origin.source):
        return _save(image, "WEBP", lossless=True, exact=True)
    return _save(image, "WEBP", quality=WEBP_QUALITY if quality == "keep" else quality)


def _write_avif(raster: Raster, quality: Quality, mark: Mapping[str, bytes]) -> bytes:
    if not features.check("avif"):
        raise ValueError("this build of Pillow cannot write AVIF")
    chosen = WEBP_QUALITY if quality == "keep" else quality
    return _save(_to_8_bit_colour(raster), "AVIF", quality=chosen, subsampling="4:4:4", **mark)


def _write_lossless(raster: Raster, target: str) -> bytes:
    if target == "TIFF":
        if raster.mode == "RGB;16":
            return _encode_wide(raster, ".tiff")
        return _save(_to_own_mode(raster), "TIFF", compression="tiff_adobe_deflate")
    if target == "GIF":
        clear = [] if raster.palette is None else np.flatnonzero(raster.palette[:, 3] == 0).tolist()
        options = {"transparency": clear[0]} if clear else {}
        return _save(_to_own_mode(raster), "GIF", optimize=False, **options)
    return _save(_to_own_mode(raster), target)


def _native(raster: Raster) -> Samples:
    return raster.pixels if raster.native is None else raster.native


def _to_8_bit_colour(raster: Raster) -> Image.Image:
    """Return RGB or RGBA of 8 bits."""
    native, mode = _native(raster), raster.mode
    if mode == "RGBA":
        return _to_image(native, "RGBA")
    if mode == "LA":
        return _to_image(np.ascontiguousarray(native[..., [0, 0, 0, 1]]), "RGBA")
    if mode == "RGBA;16":
        return _to_image(to_8_bits(native), "RGBA")
    if raster.palette is not None and bool((raster.palette[:, 3] < 255).any()):
        return _to_image(pad_palette(raster.palette)[native], "RGBA")
    return _to_image(raster.pixels, "RGB")


def _to_own_mode(raster: Raster) -> Image.Image:
    """Return an image in the raster's own mode, with the palette where there is one."""
    native = _native(raster)
    image = _to_image(native, raster.mode)
    if raster.palette is not None:
        count = max(len(raster.palette), int(native.max()) + 1)
        image.putpalette(pad_palette(raster.palette)[:count, :3].tobytes(), "RGB")
    return image


def _to_image(samples: Samples, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(samples)
    height, width = samples.shape[:2]
    little = samples.astype("<u2") if mode == "I;16" else samples
    return Image.frombytes(mode, (width, height), little.tobytes())


def _save(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002  Pillow's word
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _encode_wide(raster: Raster, suffix: str) -> bytes:
    """Encode 16-bit RGB or RGBA with OpenCV, because Pillow cannot."""
    native = _native(raster)
    order = cv2.COLOR_RGB2BGR if native.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, data = cv2.imencode(suffix, cv2.cvtColor(native, order))
    if not done:
        raise ValueError(f"OpenCV cannot write {raster.mode} as {suffix}")
    return bytes(data.tobytes())
