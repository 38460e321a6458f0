"""Cluster faces into persons: similar pairs make components, and average linkage cuts each component."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anon_batch.clustering.linkage import average_linkage
from anon_batch.clustering.neighbours import Edges, Features, Numbers, Values, cosines_of_pairs, similar_pairs

MOST_FACES = 4000  # of a component that is cut as a whole: a matrix of 128 MB
_STEP = 0.02  # by which the threshold of a larger one rises


@dataclass(frozen=True, slots=True, eq=False)
class Persons:
    """Which faces show one person.

    Args:
        labels: (N,) for each face the lowest position of a face of the same person.
        sizes: (N,) number of faces of its person.
        cohesion: (N,) mean cosine of the pairs of its person's faces; NaN where there is one.
        divided: number of faces in components that were too large, so that their persons may be split.
    """

    labels: Numbers
    sizes: Numbers
    cohesion: Values
    divided: int


def find_persons(
    features: Features, images: Numbers, groups: Numbers, threshold: float, most_faces: int = MOST_FACES
) -> Persons:
    """Return the persons of faces. Two faces of one image are never of one person.

    Args:
        features: (N, D) of length 1.
        images: (N,) number of the image of each face.
        groups: (N,) number of the group of each face; persons are not looked for across groups.
        threshold: least mean cosine of the faces of two clusters that merge.
        most_faces: of a component that is cut as a whole. In a larger one the threshold rises until its parts are small
            enough, which splits persons and merges none.
    """
    labels, cohesion, divided = np.arange(len(features)), np.full(len(features), np.nan), 0
    for faces in _by_group(groups):
        edges = similar_pairs(features[faces], images[faces], threshold)
        for part, is_whole in _components(len(faces), edges, threshold, most_faces):
            own = faces[part]
            divided += 0 if is_whole else len(own)
            similarity = _square(features, own)
            found = average_linkage(similarity, images[own], threshold)
            labels[own] = own[found]
            for low in np.unique(found):
                at = np.flatnonzero(found == low)
                if len(at) > 1:
                    cohesion[own[at]] = similarity[np.ix_(at, at)][np.triu_indices(len(at), 1)].mean()
    sizes = np.bincount(labels, minlength=len(labels))[labels]
    return Persons(labels, sizes, cohesion, divided)


def _by_group(groups: Numbers) -> Iterator[Numbers]:
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    yield from (own for own in np.split(order, cuts) if len(own) > 1)


def _components(n: int, edges: Edges, threshold: float, most: int) -> Iterator[tuple[Numbers, bool]]:
    """Yield the positions of the faces of each component of several faces, and whether it is a whole one."""
    kept = edges.similarity >= threshold
    first, second, similarity = edges.first[kept], edges.second[kept], edges.similarity[kept]
    _, names = connected_components(coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n)), False)
    order = np.argsort(names, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(names[order])) + 1):
        if 1 < len(part) <= most:
            yield part, True
        elif len(part) > most and threshold + _STEP >= 1:  # one image many times
            yield from ((part[start : start + most], False) for start in range(0, len(part), most))
        elif len(part) > most:
            inside = np.isin(first, part)
            to_part = np.zeros(n, np.int64)
            to_part[part] = np.arange(len(part))
            own = Edges(to_part[first[inside]], to_part[second[inside]], similarity[inside])
            for smaller, _ in _components(len(part), own, threshold + _STEP, most):
                yield part[smaller], False


def _square(features: Features, faces: Numbers) -> Values:
    """Return (n, n) cosines of faces, the same whatever lies beside them."""
    n = len(faces)
    first, second = np.triu_indices(n, 1)
    square = np.zeros((n, n), np.float64)
    square[first, second] = cosines_of_pairs(features, faces[first], faces[second])
    return square + square.T
