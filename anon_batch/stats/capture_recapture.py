"""How much two detectors miss at least, by how seldom they find the same: capture and recapture.

If two detectors find faces independently of each other, the share of A's faces that B finds too is the share of all faces that B
finds. But a face that is hard for one is hard for the other: both find the easy faces again and again, and know nothing about
those that both miss. So the estimate is too low, often by far: of 90 % easy faces (each detector finds 97 %) and 10 % hard ones
(20 %) it claims that 99.8 % are found where 93.6 % are. It is shown as what is missed at least. No gate reads it, and no
setting makes one read it: `pipeline.gates` reads ground truth and reviews.

Source: D. G. Chapman, Some properties of the hypergeometric distribution with applications to zoological sample censuses,
University of California Publications in Statistics 1 (1951), 131-160; on dependence A. Chao et al., The applications of
capture-recapture models to epidemiological data, Statistics in Medicine 20 (2001), 3123-3157.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from anon_batch.records import DEFAULT_LABEL, Detections
from anon_batch.stats.counts import OTHER
from anon_batch.stats.figure import Figure

MIN_SIDE_PX = 16
MIN_SCORE = 0.7  # because a false detection looks like a face that the other detector missed
_JOIN = "+"


def count_finders(found: Detections) -> dict[str, int]:
    """Return names of detectors, joined by `+` -> faces that exactly these found.

    Args:
        found: merged, with its `finders`; what an image check added has none and does not count.
    """
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
    sure = (sides >= MIN_SIDE_PX) & (found.scores >= MIN_SCORE)
    counts: dict[str, int] = {}
    for at in np.flatnonzero(sure).tolist():
        if found.labels[at] == DEFAULT_LABEL and found.finders[at]:
            key = _JOIN.join(sorted(found.finders[at]))
            counts[key] = counts.get(key, 0) + 1
    return counts


def missed_by_both(only_a: int, only_b: int, both: int) -> float:
    """Return Chapman's estimate of the faces that neither detector found, which is too low where both miss the same faces.

    Args:
        only_a: faces that A alone found.
        only_b: faces that B alone found.
        both: faces that both found.

    Raises:
        ValueError: a number below 0.
    """
    if min(only_a, only_b, both) < 0:
        raise ValueError(f"{only_a}, {only_b}, {both}: expected numbers from 0")
    total = (only_a + both + 1) * (only_b + both + 1) / (both + 1) - 1
    return max(0.0, total - (only_a + only_b + both))


def missed_at_least(found_by: Mapping[str, int]) -> Figure:
    """Return the share of all faces that two detectors miss at least; of several pairs the one that says most.

    Args:
        found_by: as `count_finders` returns it, added up.
    """
    names = sorted({name for key in found_by if key != OTHER for name in key.split(_JOIN)})
    figures = [_of_pair(found_by, *pair) for pair in combinations(names, 2)]
    known = [figure for figure in figures if figure is not None]
    if not known:
        return Figure.missing(
            "not measured: it needs two detectors that both find faces; name a second in `detect.detectors`"
        )
    return max(known, key=lambda figure: figure.value or 0.0)


def _of_pair(found_by: Mapping[str, int], a: str, b: str) -> Figure | None:
    sets = [(frozenset(key.split(_JOIN)), number) for key, number in found_by.items()]
    only_a = sum(number for names, number in sets if a in names and b not in names)
    only_b = sum(number for names, number in sets if b in names and a not in names)
    both = sum(number for names, number in sets if {a, b} <= names)
    if not both:
        return None
    missed = missed_by_both(only_a, only_b, both)
    found = only_a + only_b + both
    share = missed / (found + missed)
    note = (
        f"at least {share:.2%} of the faces are found by neither {a} nor {b}, judged by how seldom they find the same: too low, "
        f"often by far, where both miss the same faces, and too high by what is no face (scores from {MIN_SCORE:g} count). "
        "No evidence that few are missed, and no gate reads it"
    )
    return Figure(share, share, None, found, f"faces found by {a} or {b}", note)
