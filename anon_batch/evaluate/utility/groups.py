"""Whether generated faces of one age group, sex or skin tone are found again less often, or look less natural, than others.

Groups are those of the generated faces, as the donor bank labels them; nothing is guessed about real persons. A difference is
tested by drawing labels again among faces of a similar size, with one face of each image, because faces of one image are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.evaluate.utility.naturalness import Members, Values, probe_figures, seam_figure, seam_ratios
from anon_batch.evaluate.utility.paired_tests import holm
from anon_batch.evaluate.utility.sampled_rows import Columns
from anon_batch.evaluate.utility.state import FOUND, IMAGE, SIDE
from anon_batch.formats.evidence_json import Cell, Table
from anon_batch.stats.figure import Figure
from anon_batch.stats.intervals import wilson

FEW = 100  # faces; smaller groups show large differences only
MEASURES = ("found again", "probe", "seam")
SIGNIFICANT = 0.05  # corrected
_DRAWS = 4999
_MIN_TESTED = 5  # faces of a group, and of the others
_SIZES = (16.0, 32.0, 64.0, 128.0)  # borders of bands of similar sizes, px
_ORDER = ("baby", "child", "teen", "young", "middle", "old", "f", "m", "u")
_TITLES = {
    "age": "Generated faces by age group: found again, and natural?",
    "sex": "Generated faces by sex: found again, and natural?",
    "skin": "Generated faces by skin tone, 1 very light to 5 dark: found again, and natural?",
}


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group of generated faces.

    Args:
        name: as the donor bank calls it.
        faces: in the sample.
        figures: measure -> figure.
        gaps: measure -> the group's figure less that of the best group, so that 0 is best and all others are worse.
        p: measure -> p-value of no difference from the other groups, corrected for all groups and measures of the table.
        worse: measures in which the group is worse than the other groups together, by more than chance explains.
    """

    name: str
    faces: int
    figures: Mapping[str, Figure]
    gaps: Mapping[str, float | None]
    p: Mapping[str, float | None]
    worse: tuple[str, ...]


def found_again(faces: Columns, members: Members) -> Figure:
    """Return the share of faces that a second detector finds in the output among those that it finds in the original."""
    asked = members & (faces[FOUND][:, 0] == 1)
    count = int(asked.sum())
    if not count:
        return Figure.missing("not measured: no face that a second detector finds in an original; needs a scorer")
    again = faces[FOUND][asked, 1] == 1
    effective = count / _design_effect(again.astype(np.float64), faces[IMAGE][asked])
    share = int(again.sum()) / count
    low, high = wilson(share * effective, effective) or (None, None)
    return Figure(
        share, low, high, count, "faces found in originals", "interval: Wilson's, corrected for faces of one image"
    )


def _design_effect(values: Values, images: npt.NDArray[np.uint64]) -> float:
    """Return by how much faces of one image being alike widens the variance of a mean, at least 1 (Kish 1965)."""
    centred = values - values.mean()
    own = float(np.square(centred).sum())
    if own <= 0:
        return 1.0
    totals = np.zeros(len(np.unique(images)))
    np.add.at(totals, np.unique(images, return_inverse=True)[1], centred)
    return max(1.0, float(np.square(totals).sum()) / own)


def group_rows(faces: Columns, trait: str, kind: str, seed: int) -> list[GroupRow]:
    """Return the groups of a trait, without faces whose trait is not known.

    Args:
        faces: the sample.
        trait: column of the sample.
        kind: features of the probe.
        seed: of probe, bootstrap and test.
    """
    labels = faces.get(trait)
    if labels is None or not (labels != "").any():
        return []
    names = sorted(
        {str(name) for name in labels} - {""}, key=lambda name: (_ORDER.index(name) if name in _ORDER else 99, name)
    )
    members = {name: labels == name for name in names}
    natural, scores = probe_figures(faces, kind, members, seed)
    figures = {
        name: {
            "found again": found_again(faces, own),
            "probe": natural[name],
            "seam": seam_figure(faces, own, seed),
        }
        for name, own in members.items()
    }
    lost = np.where(faces[FOUND][:, 0] == 1, 1.0 - faces[FOUND][:, 1], np.nan)
    observed = {"found again": lost, "probe": scores, "seam": np.abs(seam_ratios(faces))}  # higher is worse
    tests = {
        (name, measure): test
        for measure, values in observed.items()
        if len(values)
        for name, test in _differences(values, members, labels != "", faces, seed).items()
    }
    corrected = dict(zip(tests, holm([p for p, _ in tests.values()]), strict=True))
    return [
        GroupRow(
            name,
            int(members[name].sum()),
            own,
            {measure: _gap(measure, name, figures) for measure in MEASURES},
            {measure: corrected.get((name, measure)) for measure in MEASURES},
            tuple(
                measure
                for measure in MEASURES
                if corrected.get((name, measure), 1.0) < SIGNIFICANT and tests[name, measure][1] > 0
            ),
        )
        for name, own in figures.items()
    ]


def _gap(measure: str, name: str, figures: Mapping[str, Mapping[str, Figure]]) -> float | None:
    """Return how much worse a group is than the best one, at least 0, in the units of the measure."""
    worse = {other: _badness(measure, own[measure]) for other, own in figures.items()}
    known = [own for own in worse.values() if own is not None]
    own = worse[name]
    return None if own is None or len(known) < 2 else own - min(known)


def _badness(measure: str, figure: Figure) -> float | None:
    if figure.value is None:
        return None
    return {"found again": -figure.value, "probe": abs(figure.value - 0.5), "seam": abs(figure.value - 1)}[measure]


def _differences(
    values: Values, members: Mapping[str, Members], labelled: Members, faces: Columns, seed: int
) -> dict[str, tuple[float, float]]:
    """Return group -> two-sided p-value of a permutation test against all other groups, and by how much the group's values are
    higher; for groups with enough faces.
    """
    usable = np.flatnonzero(labelled & np.isfinite(values))
    firsts = np.unique(faces[IMAGE][usable], return_index=True)[1]  # one face of each image, by the hashes' order
    rows = usable[np.sort(firsts)]
    tested = {
        name: own[rows] for name, own in members.items() if _MIN_TESTED <= own[rows].sum() <= len(rows) - _MIN_TESTED
    }
    if not tested:
        return {}
    bands = np.digitize(faces[SIDE][rows], _SIZES)
    residuals = np.asarray(values[rows], np.float64).copy()
    for band in np.unique(bands):
        residuals[bands == band] -= residuals[bands == band].mean()
    groups = np.stack(list(tested.values()), axis=1).astype(np.float64)
    excess = residuals @ groups
    generator = np.random.default_rng(seed)
    at_least = np.ones(groups.shape[1])  # the observed labels count as one draw
    where = [np.flatnonzero(bands == band) for band in np.unique(bands)]
    for _ in range(_DRAWS):
        drawn = residuals.copy()
        for own in where:
            drawn[own] = residuals[generator.permutation(own)]
        at_least += np.abs(drawn @ groups) >= np.abs(excess) - 1e-9
    return dict(zip(tested, zip((at_least / (_DRAWS + 1)).tolist(), excess.tolist(), strict=True), strict=True))


def group_table(trait: str, rows: Sequence[GroupRow]) -> Table:
    """Return the table `groups.TRAIT`."""
    columns = ["group", "faces"]
    for measure in MEASURES:
        columns += [measure, f"{measure}: gap", f"{measure}: p"]
    columns.append("verdict")
    cells = []
    for row in rows:
        own: list[Cell] = [row.name, row.faces]
        for measure in MEASURES:
            own += [row.figures[measure], row.gaps[measure], row.p[measure]]
        cells.append((*own, f"worse: {', '.join(row.worse)}" if row.worse else ""))
    small = [row.name for row in rows if row.faces < FEW]
    note = (
        "Groups of the generated faces as the donor bank labels them; nothing is guessed about real persons. Found again: of the "
        "faces that a second detector finds in the original. Gap: how much worse than the best group, 0 for the best. p: of no "
        "difference from all other groups, by permutation within sizes with one face an image, corrected (Holm) for all p of "
        "the table. Verdict: worse than all other groups together by more than chance explains."
    )
    if small:
        note += f" Fewer than {FEW} faces, so that only large differences would show: {', '.join(small)}."
    return Table(_TITLES[trait], tuple(columns), tuple(cells), note)


def gap_figure(tables: Mapping[str, Sequence[GroupRow]]) -> Figure:
    """Return `groups.gap`: the largest difference in faces found again between two groups of one trait with enough faces."""
    worst: tuple[float, str, int] | None = None
    for trait, rows in tables.items():
        shares = [
            (float(own.value), row.name, own.n or 0)
            for row in rows
            if (own := row.figures["found again"]).value is not None and (own.n or 0) >= FEW
        ]
        if len(shares) >= 2:
            low, high = min(shares), max(shares)
            if worst is None or high[0] - low[0] > worst[0]:
                worst = high[0] - low[0], f"{trait} {low[1]} against {high[1]}", min(low[2], high[2])
    if worst is None:
        return Figure.missing(f"not measured: no trait with two groups of {FEW} faces that a second detector finds")
    return Figure(worst[0], n=worst[2], unit="faces of the smaller group", note=f"largest of all traits: {worst[1]}")
