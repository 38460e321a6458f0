"""How natural replaced faces look: figures of the probe and of the seam, over all faces or those of one group."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.evaluate.probe import MIN_FACES, MIN_GROUPS, ProbeSamples, held_out_scores, probe
from anon_batch.evaluate.seam import ratio_of
from anon_batch.evaluate.utility.sampled_rows import Columns
from anon_batch.evaluate.utility.state import IMAGE, SEAM, after, before
from anon_batch.stats.figure import Figure

Members = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

_DRAWS = 1000  # of the bootstrap over images
PROBE_NOTE = "0.5: nobody can tell; area under the ROC curve, interval: bootstrap over images"
SEAM_NOTE = "1: no border shows; above it shows, below it is blurred; interval: bootstrap over images"


def probe_figures(
    faces: Columns, kind: str, members: dict[str, Members], seed: int
) -> tuple[dict[str, Figure], Values]:
    """Return name -> area under the ROC curve of a probe that tells replaced faces from untouched ones.

    Args:
        faces: the sample.
        kind: of features.
        members: name -> which faces belong to it, (N,).
        seed: of folds and bootstrap.

    Returns:
        The figures, and for each face (N,) by how much its score is higher when it is replaced, so that higher is easier to tell;
        empty without a probe.
    """
    samples = _samples(faces, kind, members)
    missing = f"needs {MIN_FACES} faces in {MIN_GROUPS} images"
    if not samples.enough:
        return {name: _too_few(own, missing) for name, own in members.items()}, np.zeros(0)
    found = probe(samples, seed)
    figures = {}
    for name, own in members.items():
        measure = found.get(name)
        figures[name] = (
            _too_few(own, missing)
            if measure is None
            else Figure(measure.auc, *measure.interval, measure.faces, "replaced faces", PROBE_NOTE)
        )
    untouched, replaced = held_out_scores(samples, seed)
    return figures, np.asarray(replaced - untouched, np.float64)


def _samples(faces: Columns, kind: str, members: dict[str, Members]) -> ProbeSamples:
    samples = ProbeSamples()
    if before(kind) not in faces:
        return samples
    rows = zip(faces[IMAGE], faces[before(kind)], faces[after(kind)], strict=True)
    for at, (image, untouched, replaced) in enumerate(rows):
        slices = [name for name, own in members.items() if name != "all" and own[at]]
        samples.add(f"{int(image):020}", slices, np.asarray(untouched, np.float64), np.asarray(replaced, np.float64))
    return samples


def _too_few(members: Members, needs: str) -> Figure:
    return Figure.missing(f"not measured: {int(members.sum()):,} replaced faces; {needs}")


def seam_figure(faces: Columns, members: Members, seed: int) -> Figure:
    """Return how much brightness changes across the masks' borders rather than along them, as a ratio of outputs to originals."""
    energies, images = _seams(faces, members)
    if len(energies) < MIN_FACES or len(np.unique(images)) < MIN_GROUPS:
        return Figure.missing(
            f"not measured: {len(energies):,} faces with a border to look at; needs {MIN_FACES} in {MIN_GROUPS} images"
        )
    names, owner = np.unique(images, return_inverse=True)
    sums = np.zeros((len(names), 4))
    np.add.at(sums, owner, energies.reshape(-1, 4))
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), _DRAWS)
    low, high = np.percentile(_ratio(draws @ sums), (2.5, 97.5))
    value = float(_ratio(sums.sum(axis=0)))
    return Figure(value, float(low), float(high), len(energies), "faces", SEAM_NOTE)


def seam_ratios(faces: Columns) -> Values:
    """Return the logarithm of each face's own ratio, (N,), NaN where it has no seam."""
    ratios = [ratio_of(own) if np.isfinite(own).all() else np.nan for own in faces.get(SEAM, ())]
    return np.log(np.maximum(np.array(ratios, np.float64), 1e-6))


def _seams(faces: Columns, members: Members) -> tuple[Values, npt.NDArray[np.uint64]]:
    energies = np.asarray(faces.get(SEAM, np.zeros((0, 2, 2))), np.float64)
    kept = np.isfinite(energies).all(axis=(1, 2)) & members
    return energies[kept], np.asarray(faces.get(IMAGE, np.zeros(0, np.uint64)), np.uint64)[kept]


def _ratio(sums: npt.NDArray[Any]) -> Values:
    """Return after across / before across over after along / before along, of sums (..., 4)."""
    across_before, along_before, across_after, along_after = np.moveaxis(np.maximum(sums, 1e-12), -1, 0)
    return np.asarray((across_after / across_before) / (along_after / along_before), np.float64)


def everyone(count: int) -> Members:
    """Return members (count,) of a group that all belong to."""
    return np.ones(count, np.bool_)
