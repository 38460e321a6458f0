"""The seam: whether brightness changes across the border of a mask more than along it, compared with the original.

A face that is pasted in shows an edge along the mask's border: gradients across it grow. One that is smoothed at the border
loses them. The originals show how the content itself behaves there, so the measure is 1 where a border cannot be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.geometry import Extent, crop, distance_to_zero
from anon_batch.records import BoolArray, FloatArray, PixelArray

MIN_SIDE_PX = 32  # because the band covers too much of a smaller face
_BAND_PX = 2  # on either side of the border
_REACH = 0.85  # half side of what is looked at, in units of the box's longer side
_MIN_BAND_PIXELS = 16
_TINY = 1e-5  # energy of a gradient that nobody sees, for a brightness of 0 to 1

Energies = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeamMeasure:
    """Energy of the gradients at the masks' borders, as ratios of outputs to originals; 1 means that nothing changed.

    Args:
        faces: measured: those of `MIN_SIDE_PX` and more.
        ratio: `across` over `along`; above 1 a border shows, below 1 it is blurred.
        across, along: mean energy across and along the border.
        median: of the ratios of single faces.
    """

    faces: int
    ratio: float | None = None
    across: float | None = None
    along: float | None = None
    median: float | None = None


@dataclass(slots=True, eq=False)
class SeamEnergies:
    """Energies so far: (across, along) of originals and outputs, each face scaled by its original's sum.

    Args:
        offset: distance outside the masks of the line that is looked at, as a share of the box's longer side; 0 is their border.
            A blend that lies outside the mask may show further out.
    """

    offset: float = 0.0
    totals: Energies = field(default_factory=lambda: np.zeros((2, 2)))
    ratios: list[float] = field(default_factory=list)

    def add(self, original: PixelArray, output: PixelArray, mask: BoolArray, box: FloatArray) -> None:
        """Add a face, unless it is too small, or the mask has no border near it.

        Args:
            original: (H, W, 3) uint8 RGB.
            output: likewise.
            mask: (H, W) bool, pixels in any mask of the image.
            box: (4,) xyxy px of the face.
        """
        energies = seam_energies(original, output, mask, box, self.offset)
        if energies is not None:
            self.totals += energies / energies[0].sum()
            self.ratios.append(ratio_of(energies))

    def measure(self) -> SeamMeasure:
        """Return the ratios over all faces."""
        if not self.ratios:
            return SeamMeasure(0)
        (before_across, before_along), (after_across, after_along) = self.totals
        across = float(after_across / max(before_across, _TINY))
        along = float(after_along / max(before_along, _TINY))
        ratio = across / along if along > 0 else None
        return SeamMeasure(len(self.ratios), ratio, across, along, float(np.median(self.ratios)))


def seam_energies(
    original: PixelArray, output: PixelArray, mask: BoolArray, box: FloatArray, offset: float = 0.0
) -> Energies | None:
    """Return the mean squared derivatives of brightness (2, 2), of original and output, across and along the mask's border.

    None if the face is too small, its mask has no border near it, or the original is flat there. Arguments as for `SeamEnergies`.
    """
    extent = _extent_of(box, mask.shape[1], mask.shape[0])
    if extent is None:
        return None
    inside = crop(mask, extent)
    if inside.all() or not inside.any():
        return None
    signed = distance_to_zero(inside) - distance_to_zero(~inside)
    band = np.abs(signed + offset * float((box[2:] - box[:2]).max())) <= _BAND_PX
    if band.sum() < _MIN_BAND_PIXELS:
        return None
    normal = _gradient(signed.astype(np.float32))
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    energies = np.stack([_energies(crop(pixels, extent), normal, band) for pixels in (original, output)])
    return energies if float(energies[0].sum()) >= _TINY else None


def ratio_of(energies: Energies) -> float:
    """Return how much more the output changes across than along the border, compared with the original, of one face."""
    before, after = energies[0], energies[1]
    return float(after[0] / (after[1] + _TINY) / (before[0] / (before[1] + _TINY)))


def _extent_of(box: FloatArray, width: int, height: int) -> Extent | None:
    """Return what is looked at around a face, inside the image; None if the face is too small or lies outside."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = max(x2 - x1, y2 - y1)
    if side < MIN_SIDE_PX:
        return None
    centre_x, centre_y, reach = (x1 + x2) / 2, (y1 + y2) / 2, _REACH * side
    left, top = max(int(centre_x - reach), 0), max(int(centre_y - reach), 0)
    right, bottom = min(int(centre_x + reach), width), min(int(centre_y + reach), height)
    return (left, top, right, bottom) if right - left > 8 and bottom - top > 8 else None


def _gradient(values: FloatArray) -> FloatArray:
    """Return Sobel's derivatives (2, h, w) along x and y."""
    return np.stack([cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)])


def _energies(pixels: PixelArray, normal: FloatArray, band: BoolArray) -> Energies:
    """Return the mean squared derivative of brightness across and along the border, in a band around it."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
    x, y = _gradient(grey)
    across = (x * normal[0] + y * normal[1])[band]
    along = (y * normal[0] - x * normal[1])[band]
    return np.array([np.square(across, dtype=np.float64).mean(), np.square(along, dtype=np.float64).mean()])
