"""Convert between a file's own samples and the RGB that detectors and methods see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anon_batch.errors import FailedError
from anon_batch.imaging.alpha import composite_over_grey
from anon_batch.records import PixelArray

Samples = npt.NDArray[Any]
FULL_RANGE = 65535
_MODES = frozenset({"RGB", "L", "LA", "RGBA", "P", "1", "CMYK"})
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA"}
_RELATED_MODES = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
_PALETTE_CHANNELS = {"RGB": (0, 1, 2), "RGBA": (0, 1, 2), "BGR": (2, 1, 0), "BGRX": (2, 1, 0), "RGBX": (0, 1, 2)}


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """The samples of a decoded file.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        native: (H, W) or (H, W, C) samples in `mode`; None for 8-bit RGB, which `pixels` holds.
        mode: as DecodedImage.native_mode.
        palette: (N, 4) uint8 RGBA of mode P, else None.
        white: sample of 16 bits that is 255 in `pixels`.
    """

    pixels: PixelArray
    native: Samples | None = None
    mode: str = "RGB"
    palette: PixelArray | None = None
    white: int = FULL_RANGE


def load_raster(image: Image.Image) -> Raster:
    """Load the samples of an image that Pillow has opened.

    Raises:
        FailedError: `unsupported_mode`, e.g. for 32-bit samples.
    """
    image.load()
    image = _to_known_mode(image)
    mode = image.mode
    if mode.startswith("I;16"):
        native = np.asarray(image).astype(np.uint16)
        return wide_raster(native, "I;16")
    if mode not in _MODES:
        raise FailedError("unsupported_mode", f"samples of mode {mode}")
    if mode == "RGB":
        return Raster(np.array(image))
    native = np.array(image)
    palette = read_palette(image) if mode == "P" else None
    return Raster(to_rgb(native, mode, palette), native, mode, palette)


def wide_raster(native: Samples, mode: str) -> Raster:
    """Return the raster of samples of 16 bits, with the fewest bits that hold all of its colours as their range.

    Cameras and scanners store 10, 12 or 14 bits in 16. Over the whole range they would be so dark that no face is found,
    and a new face far brighter than the image.
    """
    colours = native[..., :-1] if mode == "RGBA;16" else native
    bits = max(int(colours.max()).bit_length(), 8)
    white = (1 << bits) - 1
    return Raster(to_rgb(native, mode, white=white), native, mode, white=white)


def _to_known_mode(image: Image.Image) -> Image.Image:
    mode = image.mode
    if "transparency" in image.info and mode in _WITH_ALPHA:
        return (image.convert("L") if mode == "1" else image).convert(_WITH_ALPHA[mode])
    return image.convert(_RELATED_MODES[mode]) if mode in _RELATED_MODES else image


def to_rgb(native: Samples, mode: str, palette: PixelArray | None = None, white: int = FULL_RANGE) -> PixelArray:
    """Return (H, W, 3) uint8 RGB of native samples.

    Grey is repeated; 16 bits become 8 by rounding v * 255 / white; CMYK becomes (255 - C) * (255 - K) / 255 and so
    on, without a profile; transparency is composited over mid-grey.

    Args:
        native: samples, see DecodedImage.
        mode: as DecodedImage.native_mode.
        palette: (N, 4) uint8 RGBA, of mode P.
        white: see Raster.
    """
    if mode == "1":
        return _repeat_grey(native.astype(np.uint8) * np.uint8(255))
    if mode == "L":
        return _repeat_grey(native)
    if mode == "CMYK":
        ink, black = 255 - native[..., :3].astype(np.uint16), 255 - native[..., 3:].astype(np.uint16)
        return ((ink * black + 127) // 255).astype(np.uint8)
    if mode == "P" and palette is not None:
        rgba = pad_palette(palette)[native]
        return composite_over_grey(rgba[..., :3], rgba[..., 3])
    if mode.endswith(";16"):
        native, mode = to_8_bits(native, white), {"I;16": "L"}.get(mode, mode.removesuffix(";16"))
        return to_rgb(native, mode)
    if mode == "LA":
        return composite_over_grey(_repeat_grey(native[..., 0]), native[..., 1])
    if mode == "RGBA":
        return composite_over_grey(native[..., :3], native[..., 3])
    if mode == "RGB":
        return np.ascontiguousarray(native)
    raise ValueError(f"samples of mode {mode} cannot become RGB{' without a palette' if mode == 'P' else ''}")


def luma(rgb: PixelArray) -> PixelArray:
    """Convert (N, 3) or (H, W, 3) uint8 RGB to grey: 0.299 R + 0.587 G + 0.114 B, rounded (ITU-R BT.601)."""
    weights = np.asarray([19595, 38470, 7471], np.uint32)  # of 65536
    return ((rgb.astype(np.uint32) @ weights + 32768) >> 16).astype(np.uint8)


def to_8_bits(samples: Samples, white: int = FULL_RANGE) -> PixelArray:
    """Convert samples of 16 bits, grey, RGB or RGBA: v * 255 / white, rounded, but alpha over the whole range.

    Samples of 8 bits are returned as they are.
    """
    if samples.dtype == np.uint8:
        return samples
    out = np.minimum((samples.astype(np.uint32) * 255 + white // 2) // white, 255).astype(np.uint8)
    if samples.ndim == 3 and samples.shape[2] == 4 and white != FULL_RANGE:
        out[..., 3] = to_8_bits(samples[..., 3])
    return out


def read_palette(image: Image.Image) -> PixelArray:
    """Return (N, 4) uint8 RGBA of an image of mode P."""
    if image.palette is None:
        raise FailedError("decode", "palette indices without a palette")
    colours = image.palette
    kind = colours.rawmode or colours.mode
    values = np.frombuffer(bytes(colours.palette), np.uint8)
    if kind == "RGB;L":  # TIFF: all reds, all greens, all blues
        values = values[: len(values) // 3 * 3].reshape(3, -1).T.ravel()
        kind = "RGB"
    if kind not in _PALETTE_CHANNELS:
        raise FailedError("unsupported_mode", f"a palette of mode {kind}")
    entries = values[: len(values) // len(kind) * len(kind)].reshape(-1, len(kind))[:256]
    palette = np.full((len(entries), 4), 255, np.uint8)
    palette[:, :3] = entries[:, _PALETTE_CHANNELS[kind]]
    if kind == "RGBA":
        palette[:, 3] = entries[:, 3]
    _set_transparency(palette, image.info.get("transparency"))
    return palette


def _set_transparency(palette: PixelArray, transparency: Any) -> None:
    """Write the alpha of each entry, or of the one clear entry, into the palette."""
    if isinstance(transparency, bytes):
        alpha = np.frombuffer(transparency[: len(palette)], np.uint8)
        palette[: len(alpha), 3] = alpha
    elif isinstance(transparency, int) and 0 <= transparency < len(palette):
        palette[transparency, 3] = 0


def pad_palette(palette: PixelArray) -> PixelArray:
    """Return (256, 4): the palette with opaque black for the missing indices, as decoders show them."""
    black = np.zeros((256 - len(palette), 4), np.uint8)
    black[:, 3] = 255
    return np.concatenate([palette, black])


def _repeat_grey(plane: Samples) -> PixelArray:
    return np.repeat(plane[..., None], 3, axis=2)
