"""JPEGs decoded by the GPU, for looking at them alone.

For one case alone: large baseline JPEGs that are looked at whole, few of them with a face, on a worker whose CPUs cannot keep
up with its GPU. nvJPEG may read damaged data without a word, and otherwise than other viewers, so the CPU reads the
entropy-coded data of every such file all the same and the results are compared. Of a CPU's time for a picture of 12 megapixels
that leaves a sixth to a quarter to be saved, less what copying it from the GPU takes; and a picture with a face is decoded once
more, as a whole and by the CPU. Small and progressive pictures, and those that `max_side_px` has the CPU decode at a fraction of
their sides, gain nothing.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

import cv2
import numpy as np
import simplejpeg

from anon_batch.errors import ConfigError
from anon_batch.records import PixelArray

_BLOCK_PX = 8
# Tiles of the eighth: 32 px of the picture for brightness, 64 px for colour, which libjpeg takes coarser there.
_BRIGHTNESS_TILE, _COLOUR_TILE = 4, 8
# Levels that a tile's mean may differ by. Over 300 photographs and five decoders: at most 1.6 and 3.6; encoded anew at qualities
# from 5 to 95 with every subsampling, at most 6.0 and 10.9. What exceeds them in vain costs time, no more.
_BRIGHTNESS_BOUND, _COLOUR_BOUND = 8.0, 14.0
_VERBOSITY = "PYNVIMGCODEC_VERBOSITY"


class JpegCodec(Protocol):
    """Decodes JPEGs otherwise than the CPU's decoder does. Threads share it."""

    def decode(self, data: bytes) -> PixelArray | None:
        """Decodes one picture.

        Args:
            data: a JPEG of 8 bits and three components, without metadata.

        Returns:
            (H, W, 3) uint8 RGB as stored, not turned; None where it declines or fails, in whatever way.
        """


class DeviceJpegDecoder:
    """nvImageCodec's decoder of JPEGs: the GPU's JPEG engine, or its general cores where that declines. Threads share it.

    Args:
        on_gpu: False takes the package's own decoder for the CPU, to try the rest without a GPU.

    Raises:
        ConfigError: the package is missing, or cannot decode a plain JPEG here.
    """

    def __init__(self, *, on_gpu: bool = True) -> None:
        self._codec = import_nvimgcodec()
        self._on_gpu = on_gpu
        self._of_thread = threading.local()  # its decoders are not said to be safe to share
        shape = (64, 64, 3)
        try:
            pixels = self._decode(simplejpeg.encode_jpeg(np.full(shape, 90, np.uint8)))
            fault = "it declines" if pixels is None else f"it gives {pixels.shape}" if pixels.shape != shape else ""
        except Exception as exc:  # its exceptions share no base class
            fault = f"{type(exc).__name__}: {exc}"
        if fault:
            raise ConfigError(
                f"detect.jpeg_decoder: nvimgcodec cannot decode a plain JPEG on this worker's GPU ({fault}); it needs a CUDA "
                "device and nvJPEG for CUDA 12, which `pip install 'anon-batch[nvimgcodec]'` brings; or use cpu"
            )

    def decode(self, data: bytes) -> PixelArray | None:
        """See JpegCodec.decode."""
        try:
            return self._decode(data)
        except Exception:  # the caller decodes it otherwise
            return None

    def _decode(self, data: bytes) -> PixelArray | None:
        image = self._decoder().decode(self._codec.CodeStream(data), params=self._params())
        host = None if image is None else image.cpu()
        return None if host is None else np.asarray(host)

    def _decoder(self) -> Any:
        if not hasattr(self._of_thread, "decoder"):
            codec = self._codec
            kinds = (codec.HW_GPU_ONLY, codec.GPU_ONLY, codec.HYBRID_CPU_GPU) if self._on_gpu else (codec.CPU_ONLY,)
            self._of_thread.decoder = codec.Decoder(
                device_id=codec.NVIMGCODEC_DEVICE_CURRENT if self._on_gpu else codec.NVIMGCODEC_DEVICE_CPU_ONLY,
                max_num_cpu_threads=1,
                backends=[codec.Backend(kind) for kind in kinds],
                options=":fancy_upsampling=1",  # colours between their samples as libjpeg has them
            )
        return self._of_thread.decoder

    def _params(self) -> Any:
        return self._codec.DecodeParams(apply_exif_orientation=False, color_spec=self._codec.ColorSpec.SRGB)


def import_nvimgcodec() -> Any:
    """The module of nvImageCodec, silenced: what it declines is decoded otherwise.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault(_VERBOSITY, "0")
    try:
        from nvidia import nvimgcodec
    except ImportError:
        raise ConfigError(
            "detect.jpeg_decoder: nvimgcodec is not installed; install it with `pip install 'anon-batch[nvimgcodec]'`, or use cpu"
        ) from None
    return nvimgcodec


def agrees(pixels: PixelArray, eighth: PixelArray) -> bool:
    """Whether a picture looks like its rendition at an eighth of its sides, tile by tile, in brightness and in colour. Sees
    what is missing, grey, shifted or in wrong colours; not what is blurred, nor the last 7 px where a side is no multiple of 8.

    Args:
        pixels: (H, W, 3) uint8 RGB; no side is shorter than 8 px.
        eighth: (ceil(H / 8), ceil(W / 8), 3) uint8 RGB, each pixel the mean of a block of 8 x 8.
    """
    height, width = pixels.shape[0] // _BLOCK_PX, pixels.shape[1] // _BLOCK_PX
    shown = pixels[: height * _BLOCK_PX, : width * _BLOCK_PX]
    for divisor in (4, 2, 1):  # OpenCV is quicker to halve thrice than to make an eighth at once
        shown = cv2.resize(shown, (width * divisor, height * divisor), interpolation=cv2.INTER_AREA)
    difference = _ycc(shown) - _ycc(eighth[:height, :width])
    brightness, colour = difference[..., :1], difference[..., 1:]
    return _largest_of_tiles(brightness, _BRIGHTNESS_TILE) <= _BRIGHTNESS_BOUND and (
        _largest_of_tiles(colour, _COLOUR_TILE) <= _COLOUR_BOUND
    )


def _ycc(pixels: PixelArray) -> Any:
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YCrCb).astype(np.float32)


def _largest_of_tiles(difference: Any, tile: int) -> float:
    means = cv2.blur(difference, (tile, tile), borderType=cv2.BORDER_REPLICATE)
    return float(np.abs(means).max())
