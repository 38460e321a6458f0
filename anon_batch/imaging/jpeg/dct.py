"""Transform pixels to quantised DCT coefficients with a JPEG's own tables and sampling."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from anon_batch.imaging.jpeg.coefficients import Coefficients, finest_sampling
from anon_batch.imaging.jpeg.markers import Component, JpegHeader
from anon_batch.imaging.modes import luma
from anon_batch.records import FloatArray, PixelArray

# RGB to YCbCr, rows Y, Cb, Cr (JFIF 1.02).
_YCBCR = np.asarray(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
# The range of baseline coding: DC, then AC.
_LOWEST, _HIGHEST = np.asarray([-1024, *[-1023] * 63], np.float32), np.float32(1023)
_BAND_PX = 1 << 15  # pixels at once, so that their samples stay in the processor's cache


def compute_coefficients(
    rgb: PixelArray, header: JpegHeader, components: Sequence[Component]
) -> tuple[FloatArray, list[Coefficients]]:
    """Return luma (H, W) around 0 before quantisation, and (rows, columns, 64) coefficients of each component.

    Args:
        rgb: (H, W, 3), whole MCUs in both directions.
        header: with the quantisation tables.
        components: with the sampling.
    """
    high = 8 * finest_sampling(components)[1]
    step = max(_BAND_PX // (high * rgb.shape[1]), 1) * high
    planes: list[FloatArray] = []
    coefficients: list[list[Coefficients]] = [[] for _ in components]
    for top in range(0, len(rgb), step):
        band = _split_planes(rgb[top : top + step], components)
        planes.append(band[0])
        for parts, part in zip(coefficients, _quantise(band, header, components), strict=True):
            parts.append(part)
    return np.concatenate(planes), [np.concatenate(parts) for parts in coefficients]


def _split_planes(rgb: PixelArray, components: Sequence[Component]) -> list[FloatArray]:
    """Return the components' samples, (H, W) each, around 0."""
    if len(components) == 1:
        return [luma(rgb).astype(np.float32) - 128]
    # Chroma is stored around 128 and shifted by 128 for the transform, so only luma keeps a shift.
    # Because numpy would start BLAS threads in every worker, multiply with OpenCV in this thread.
    planes = list(cv2.split(cv2.transform(rgb.astype(np.float32), _YCBCR)))
    planes[0] -= 128
    return planes


def _quantise(planes: Sequence[FloatArray], header: JpegHeader, components: Sequence[Component]) -> list[Coefficients]:
    out = []
    for plane, component in zip(planes, components, strict=True):
        blocks = transform_blocks(_split_blocks(plane, component, finest_sampling(components)))
        product = blocks.reshape(*blocks.shape[:2], 64)
        product /= np.asarray(header.tables[component.table], np.float32)
        np.rint(product, out=product)
        np.maximum(np.minimum(product, _HIGHEST, out=product), _LOWEST, out=product)
        out.append(product.astype(np.int16))
    return out


def transform_blocks(blocks: FloatArray) -> FloatArray:
    """Return the transform of T.81, A.3.3, of each block: the orthonormal 8-point DCT-II on both axes.

    A matrix product is not used because OpenCV and numpy hand it to BLAS, where the last bits of a row depend on the
    number of threads and on how many rows there are. Here each block's sums have one order.

    Args:
        blocks: (rows, columns, 8, 8) float32 samples around 0.

    Returns:
        (rows, columns, 8, 8) float32, contiguous.
    """
    from scipy.fft import dctn  # slow to import, and only JPEGs with regions need it

    return np.ascontiguousarray(dctn(blocks, axes=(2, 3), norm="ortho", workers=1), np.float32)


def _split_blocks(plane: FloatArray, component: Component, sides: tuple[int, int]) -> FloatArray:
    """Return (rows, columns, 8, 8) samples of a component at its own resolution; a view that is not contiguous."""
    width = plane.shape[1] * component.horizontal // sides[0]
    height = plane.shape[0] * component.vertical // sides[1]
    small = (
        plane if plane.shape == (height, width) else cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    )
    return np.asarray(small.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2))
