"""A loaded picture as arrays: the file's own samples, and the RGB that a detector sees of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from anon_batch.errors import FailedError
from anon_batch.imaging.alpha import over_mid_grey
from anon_batch.records import PixelArray

Samples = npt.NDArray[Any]
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA"}


def samples_of(image: Image.Image) -> tuple[PixelArray, Samples | None, str]:
    """Pixels, native samples (None for 8-bit RGB) and native mode, as DecodedImage holds them, of a loaded
    picture.

    Raises:
        FailedError: `unsupported_mode`, e.g. for 32-bit samples.
    """
    mode = image.mode
    if "transparency" in image.info and mode in _WITH_ALPHA:
        image = (image.convert("L") if mode == "1" else image).convert(_WITH_ALPHA[mode])
    elif mode in ("PA", "La", "RGBa", "RGBX", "YCbCr"):
        image = image.convert("RGB" if mode in ("RGBX", "YCbCr") else {"La": "LA"}.get(mode, "RGBA"))
    mode = image.mode
    if mode.startswith("I;16"):
        native = np.asarray(image).astype(np.uint16)
        return pixels_of(native, "I;16"), native, "I;16"
    if mode not in ("RGB", "L", "LA", "RGBA", "P", "1", "CMYK"):
        raise FailedError("unsupported_mode", f"samples of mode {mode}")
    if mode == "RGB":
        return np.array(image), None, "RGB"
    native = np.array(image)
    palette = palette_of(image) if mode == "P" else None
    return pixels_of(native, mode, palette), native, mode


def pixels_of(native: Samples, mode: str, palette: PixelArray | None = None) -> PixelArray:
    """(H, W, 3) uint8 RGB of native samples.

    Grey is repeated; 16 bits become 8 by rounding v / 257; CMYK becomes (255 - C) * (255 - K) / 255 and so
    on, without a profile; transparency lies over mid-grey.

    Args:
        native: samples, see DecodedImage.
        mode: as DecodedImage.native_mode.
        palette: (N, 4) uint8 RGBA, of mode P.
    """
    if mode == "1":
        return _grey(native.astype(np.uint8) * np.uint8(255))
    if mode == "L":
        return _grey(native)
    if mode == "CMYK":
        ink, black = 255 - native[..., :3].astype(np.uint16), 255 - native[..., 3:].astype(np.uint16)
        return ((ink * black + 127) // 255).astype(np.uint8)
    if mode == "P" and palette is not None:
        rgba = filled_up(palette)[native]
        return over_mid_grey(rgba[..., :3], rgba[..., 3])
    if mode.endswith(";16"):
        native, mode = to_8_bits(native), {"I;16": "L"}.get(mode, mode.removesuffix(";16"))
        return pixels_of(native, mode)
    if mode == "LA":
        return over_mid_grey(_grey(native[..., 0]), native[..., 1])
    if mode == "RGBA":
        return over_mid_grey(native[..., :3], native[..., 3])
    if mode == "RGB":
        return np.ascontiguousarray(native)
    raise ValueError(f"mode {mode} without what it needs to become RGB")


def palette_of(image: Image.Image) -> PixelArray:
    """(N, 4) uint8 RGBA of a picture of mode P. Reads the header, not the samples."""
    if image.palette is None:
        raise FailedError("decode", "a picture of palette indices without a palette")
    colours = image.palette
    kind = colours.rawmode or colours.mode
    values = np.frombuffer(bytes(colours.palette), np.uint8)
    places = {"RGB": (0, 1, 2), "RGBA": (0, 1, 2), "BGR": (2, 1, 0), "BGRX": (2, 1, 0), "RGBX": (0, 1, 2)}
    if kind == "RGB;L":  # TIFF: all reds, all greens, all blues
        values = values[: len(values) // 3 * 3].reshape(3, -1).T.ravel()
        kind = "RGB"
    if kind not in places:
        raise FailedError("unsupported_mode", f"a palette of mode {kind}")
    entries = values[: len(values) // len(kind) * len(kind)].reshape(-1, len(kind))[:256]
    palette = np.full((len(entries), 4), 255, np.uint8)
    palette[:, :3] = entries[:, places[kind]]
    if kind == "RGBA":
        palette[:, 3] = entries[:, 3]
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        alpha = np.frombuffer(transparency[: len(palette)], np.uint8)
        palette[: len(alpha), 3] = alpha
    elif isinstance(transparency, int) and 0 <= transparency < len(palette):
        palette[transparency, 3] = 0
    return palette


def filled_up(palette: PixelArray) -> PixelArray:
    """(256, 4): the palette with opaque black for the indices it does not name, as decoders show them."""
    black = np.zeros((256 - len(palette), 4), np.uint8)
    black[:, 3] = 255
    return np.concatenate([palette, black])


def _grey(plane: Samples) -> PixelArray:
    return np.repeat(plane[..., None], 3, axis=2)


def to_8_bits(samples: Samples) -> PixelArray:
    """Samples of 16 bits, v / 257 rounded."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
