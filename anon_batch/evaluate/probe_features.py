"""Features of face crops for the probe: what a detector sees in them, and the traces that processing leaves in noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.models.store import ModelStore
from anon_batch.records import FloatArray, PixelArray

Row = npt.NDArray[np.float64]

CROP_REACH = 0.9  # half side of a crop, in units of the box's longer side
_SIDE = 128  # px of what the detector sees
_GRID = 8  # cells along a side, of sharpness and colour
_LAYERS = ("474", "532")  # CenterFace's activations at 1/16 and 1/4 of the image's side
_BLOCK, _STEP = 8, 4  # px of a DCT block and between two of them
_MAX_NOISE_SIDE = 384  # px; larger crops are cut to their middle
_RINGS = (0.5, 0.8)  # radii of face and border, as shares of half the crop; beyond lie the surroundings


class FaceFeatures(Protocol):
    """Describes crops of faces by numbers."""

    name: str

    def of(self, crop: PixelArray) -> Row:
        """Return the features (D,) of a crop (s, s, 3) uint8 RGB at its natural size."""


def crop_around(pixels: PixelArray, box: FloatArray) -> PixelArray:
    """Return the square around a face with its surroundings, (s, s, 3); the image's border is continued outside.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: (4,) xyxy px.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    half = max(round(CROP_REACH * max(x2 - x1, y2 - y1)), 4)
    left, top = round((x1 + x2) / 2) - half, round((y1 + y2) / 2) - half
    height, width = pixels.shape[:2]
    columns = np.clip(np.arange(left, left + 2 * half), 0, width - 1)
    rows = np.clip(np.arange(top, top + 2 * half), 0, height - 1)
    return np.ascontiguousarray(pixels[rows[:, None], columns])


class DetectorFeatures:
    """Means and maxima of CenterFace's activations over the middle of the crop, and grids of sharpness and colour.

    Args:
        store: gives the detector's weights.

    Raises:
        ModelError: the weights are missing or not the pinned ones.
    """

    name = "detector"
    models = ("centerface",)

    def __init__(self, store: ModelStore) -> None:
        from anon_batch.models.onnx_graph import prepare_image_network
        from anon_batch.models.torch_network import OnnxModule

        self._network = OnnxModule(prepare_image_network(store.load(self.models[0])), _LAYERS)

    def of(self, crop: PixelArray) -> Row:
        """Return the features of a crop scaled to 128 px."""
        shrinks = crop.shape[0] > _SIDE
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = cv2.resize(crop, (_SIDE, _SIDE), interpolation=method).astype(np.float32)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        sharpness = [_grid(edges), _grid(cv2.GaussianBlur(edges, (0, 0), 3))]
        lab = cv2.cvtColor(small / np.float32(255), cv2.COLOR_RGB2LAB)
        return np.concatenate([self._activations(small), np.log(np.concatenate(sharpness) + 0.5), _grid(lab) / 10])

    def _activations(self, small: FloatArray) -> Row:
        import torch

        parts = []
        with torch.inference_mode():
            for values in self._network(torch.from_numpy(small.transpose(2, 0, 1)[None].copy())):
                edge = values.shape[-1] // 4
                middle = values[0, :, edge:-edge, edge:-edge]
                parts += [middle.mean((1, 2)), middle.amax((1, 2))]
        return np.asarray(torch.cat(parts).numpy(), np.float64)


class NoiseFeatures:
    """Log energies of DCT frequencies in brightness and colour, and the correlation of noise between neighbours.

    They are taken at the image's own size, in the face, at its border and around it, because resampling, blending and another
    camera's noise change high frequencies where nothing else can be seen (as in detectors of splices: Fridrich and Kodovsky
    2012, "Rich models for steganalysis of digital images", whose many filters the DCT stands in for here).
    """

    name = "noise"

    def of(self, crop: PixelArray) -> Row:
        """Return the features of a crop at its natural size."""
        extra = max(0, crop.shape[0] - _MAX_NOISE_SIDE) // 2
        middle = crop[extra : crop.shape[0] - extra, extra : crop.shape[1] - extra]
        side = max(middle.shape[0], 2 * _BLOCK)
        if middle.shape[0] < side:
            more = side - middle.shape[0]
            middle = cv2.copyMakeBorder(middle, 0, more, 0, more, cv2.BORDER_REPLICATE)
        channels = cv2.cvtColor(middle.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
        rows: list[Row] = []
        for channel, frequencies in zip(np.moveaxis(channels, 2, 0), (64, 16, 16), strict=True):
            rows += [_block_energies(channel, frequencies), _correlations(channel)]
        return np.concatenate(rows)


def _grid(values: FloatArray) -> Row:
    return np.asarray(cv2.resize(values, (_GRID, _GRID), interpolation=cv2.INTER_AREA).ravel(), np.float64)


def _rings(height: int, width: int) -> Sequence[npt.NDArray[np.bool_]]:
    """Return where the face, its border and its surroundings are, for `height` x `width` samples of a crop."""
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    inner, outer = _RINGS
    return radius < inner, (radius >= inner) & (radius < outer), radius >= outer


def _block_energies(channel: FloatArray, frequencies: int) -> Row:
    """Return the log energy of the lowest-order frequencies of 8 x 8 blocks, by ring."""
    from scipy.fft import dctn

    blocks = np.lib.stride_tricks.sliding_window_view(channel, (_BLOCK, _BLOCK))[::_STEP, ::_STEP]
    energies = np.square(dctn(blocks.astype(np.float64), axes=(2, 3), norm="ortho")).reshape(*blocks.shape[:2], -1)
    if frequencies < energies.shape[2]:
        order = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).ravel()
        energies = energies[:, :, np.argsort(-order, kind="stable")[:frequencies]]  # the highest ones
    parts = []
    for ring in _rings(*energies.shape[:2]):
        values = energies[ring] if ring.any() else energies.reshape(-1, energies.shape[2])
        parts.append(np.log(values.mean(axis=0) + 1e-3))
    return np.concatenate(parts)


def _correlations(channel: FloatArray) -> Row:
    """Return how neighbouring values of the residual correlate along x, y and both diagonals, and its kurtosis, by ring."""
    residual = channel.astype(np.float64) - cv2.GaussianBlur(channel, (0, 0), 1.0)
    shifted = [np.roll(residual, shift, (0, 1)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1))]
    parts: list[float] = []
    for ring in _rings(*channel.shape):
        own = residual[ring] - residual[ring].mean()
        energy = float((own**2).mean()) + 1e-6
        parts += [float((own * (other[ring] - other[ring].mean())).mean()) / energy for other in shifted]
        parts.append(np.log(float((own**4).mean()) / energy**2 + 1))
    return np.array(parts)
