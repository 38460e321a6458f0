"""The canary: does a classifier that learns from anonymized images still know the classes of real ones?

A linear probe on frozen features learns the classes twice, from originals and from anonymized images of the same rows, and both
answer for the same originals that neither has seen: the images of every fold by the probes of the other folds. The difference is
what users lose who train on the release and apply it to the world. Where only anonymized images are tested too, as Yang et al.
2022 do ("A study of face obfuscation in ImageNet"), is a second figure; a shortcut that anonymization adds shows only there.

A mean hides single classes, so every class has its own exact test, corrected for the number of classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.evaluate.utility.linear_probe import LinearProbe
from anon_batch.evaluate.utility.paired_tests import change_interval, holm, mcnemar

FOLDS = 5
MIN_CLASS_ROWS = 6  # fewer cannot reach p = 0.05 even if every answer changes
MIN_CLASSES = 2
SIGNIFICANT = 0.05  # corrected

Features = npt.NDArray[np.floating]
Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """Right answers before and after, for the same rows.

    Args:
        rows: tested.
        before: share of right answers of the probe that learnt from originals.
        after: of the one that learnt from anonymized images.
        interval: 95 % interval of `after` - `before`.
        p: exact two-sided p-value of no change.
    """

    rows: int
    before: float
    after: float
    interval: tuple[float, float]
    p: float

    @classmethod
    def of(cls, before: Answers, after: Answers) -> Change:
        """Count answers (N,), True where right; at least one."""
        lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
        rows = len(before)
        interval = change_interval(lost, gained, rows)
        return cls(rows, int(before.sum()) / rows, int(after.sum()) / rows, interval, mcnemar(lost, gained))

    @property
    def change(self) -> float:
        """`after` - `before`."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class.

    Args:
        name: of the class.
        changed: share of its images that were changed.
        change: of its rows.
        corrected_p: Holm's, over all classes.
    """

    name: str
    changed: float
    change: Change
    corrected_p: float

    @property
    def flagged(self) -> bool:
        """Whether the class changed more than chance explains."""
        return self.corrected_p < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Canary:
    """What a classifier loses.

    Args:
        on_originals: both probes answer for originals: the headline.
        on_anonymized: the probe that learnt from anonymized images answers for anonymized ones; before is as above.
        classes: of `on_originals`, the largest loss first.
        left_out: classes with too few rows.
    """

    on_originals: Change
    on_anonymized: Change
    classes: tuple[ClassChange, ...]
    left_out: int


def measure_canary(labels: npt.NDArray[np.str_], changed: Answers, before: Features, after: Features) -> Canary | str:
    """Return the canary, or why there is none.

    Args:
        labels: (N,) class of each row, in an order that says nothing, such as that of hashes.
        changed: (N,) whether its image was changed.
        before: (N, D) features of originals.
        after: of their outputs.
    """
    names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    large = sizes >= MIN_CLASS_ROWS
    if int(large.sum()) < MIN_CLASSES:
        return (
            f"{len(labels):,} labelled images of {len(names):,} classes; needs at least {MIN_CLASSES} classes with "
            f"{MIN_CLASS_ROWS} images each"
        )
    rows = large[codes]
    names, (_, codes) = names[large], np.unique(codes[rows], return_inverse=True)
    changed, before, after = changed[rows], before[rows], after[rows]
    right, right_after, right_anonymized = _right_answers(codes, len(names), before, after)
    changes = [Change.of(right[codes == at], right_after[codes == at]) for at in range(len(names))]
    corrected = holm([own.p for own in changes])
    classes = [
        ClassChange(str(name), float(changed[codes == at].mean()), changes[at], corrected[at])
        for at, name in enumerate(names)
    ]
    classes.sort(key=lambda own: (own.change.change, own.corrected_p, own.name))
    return Canary(
        Change.of(right, right_after), Change.of(right, right_anonymized), tuple(classes), int((~large).sum())
    )


def _right_answers(
    codes: npt.NDArray[np.int64], count: int, before: Features, after: Features
) -> tuple[Answers, Answers, Answers]:
    """Return whether held-out answers are right: originals from originals, originals from anonymized, anonymized alone."""
    folds = np.zeros(len(codes), np.int64)
    for code in range(count):  # so that every class is in every fold
        members = np.flatnonzero(codes == code)
        folds[members] = (np.arange(len(members)) + code) % FOLDS
    right, right_after, right_anonymized = (np.zeros(len(codes), np.bool_) for _ in range(3))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        if not test.any():
            continue
        old, new = (LinearProbe(features[train], codes[train], count) for features in (before, after))
        right[test] = old.predict(before[test]) == codes[test]
        right_after[test] = new.predict(before[test]) == codes[test]
        right_anonymized[test] = new.predict(after[test]) == codes[test]
    return right, right_after, right_anonymized
