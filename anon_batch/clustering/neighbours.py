"""Exact nearest neighbours among features, block by block, so that the memory does not grow with the square of their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 32
_ROWS, _COLUMNS = 1024, 8192  # of a block: 32 MiB of similarities
_MOST_KEPT = 4  # times NEIGHBOURS of the candidates that a row keeps on the way
_MARGIN = 1e-4  # by which a product in 32 bits may be wrong, many times over

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Pairs of faces that look alike.

    Args:
        first, second: (E,) positions of the faces, first < second, in rising order; each pair once.
        similarity: (E,) cosine of each pair.
    """

    first: Numbers
    second: Numbers
    similarity: Values


def similar_pairs(features: Features, images: Numbers, threshold: float, neighbours: int = NEIGHBOURS) -> Edges:
    """Return the pairs of faces of different images from a similarity on, of each face with its nearest ones.

    Similarities are compared in 64 bits, pair by pair, because those of a matrix product depend on how it is divided.

    Args:
        features: (N, D) of length 1.
        images: (N,) number of the image of each face.
        threshold: least cosine.
        neighbours: of a face, the most similar first; of equal ones those with the lowest positions.
    """
    found = [_of_rows(features, images, threshold, neighbours, start) for start in range(0, len(features), _ROWS)]
    first = np.concatenate([np.zeros(0, np.int64), *(row for row, _ in found)])
    second = np.concatenate([np.zeros(0, np.int64), *(column for _, column in found)])
    pairs = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1), axis=0)
    return Edges(pairs[:, 0], pairs[:, 1], cosines_of_pairs(features, pairs[:, 0], pairs[:, 1]))


def cosines_of_pairs(features: Features, first: Numbers, second: Numbers) -> Values:
    """Return (E,) cosines of pairs of features (N, D) of length 1, summed in 64 bits."""
    out = np.empty(len(first), np.float64)
    for start in range(0, len(first), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        one, other = features[first[part]].astype(np.float64), features[second[part]].astype(np.float64)
        out[part] = np.einsum("nd,nd->n", one, other)
    return out


def _of_rows(
    features: Features, images: Numbers, threshold: float, neighbours: int, start: int
) -> tuple[Numbers, Numbers]:
    """Return the faces of one block of rows, and for each its neighbours."""
    own = features[start : start + _ROWS]
    rows: list[Any] = [np.zeros(0, np.int64)]
    columns: list[Any] = [np.zeros(0, np.int64)]
    kept = 0
    for left in range(0, len(features), _COLUMNS):
        alike = own @ features[left : left + _COLUMNS].T >= threshold - _MARGIN
        alike &= images[start : start + _ROWS, None] != images[None, left : left + _COLUMNS]
        row, column = np.nonzero(alike)
        rows.append(row + start)
        columns.append(column + left)
        kept += len(row)
        if kept > _MOST_KEPT * neighbours * len(own):
            row, column = _nearest(features, np.concatenate(rows), np.concatenate(columns), threshold, neighbours)
            rows, columns, kept = [row], [column], len(row)
    return _nearest(features, np.concatenate(rows), np.concatenate(columns), threshold, neighbours)


def _nearest(
    features: Features, rows: Numbers, columns: Numbers, threshold: float, neighbours: int
) -> tuple[Numbers, Numbers]:
    """Return the pairs from the threshold on, the nearest ones of each row."""
    similarity = cosines_of_pairs(features, rows, columns)
    near = similarity >= threshold
    rows, columns, similarity = rows[near], columns[near], similarity[near]
    order = np.lexsort((columns, -similarity, rows))
    rows, columns = rows[order], columns[order]
    begins = np.searchsorted(rows, rows, side="left")
    kept = np.arange(len(rows)) - begins < neighbours
    return rows[kept], columns[kept]
