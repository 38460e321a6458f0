"""What measures are called on the page, and in which unit their values are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from anon_batch.label_words import noun_of
from anon_batch.stats.missed import MIN_SIDE_PX

LABELS: Final[Mapping[str, str]] = {
    "missed.all": "labelled faces left uncovered",
    "missed.from_16_px": "labelled faces from 16 px left uncovered",
    "missed.at_least": "missed faces by capture and recapture, at least",
    "residual.share": "images in which a face is left, by the residual check",
    "residual.found": "checked images in which the residual check found something at its first look",
    "residual.recall": "planted faces that the residual check found",
    "residual.after": "published images in which a second detector finds a face outside all regions",
    "review.missed": "images with a missed face, by human review",
    "review.missed_by_perfect_reviewer": "the same, if reviewers saw every missed face",
    "review.catch_rate": "planted faces that the reviewers caught",
    "review.ugly": "images that reviewers called ugly",
    "review.wrong_region": "images with a wrong region, by human review",
    "review.claim": "share of images that the review set out to prove",
    "review.proven": "claim proven (1) or not (0)",
    "review.reviewers": "reviewers",
    "review.kappa": "agreement of reviewers (kappa)",
    "review.seconds": "time of the review",
    "reidentification.rank_1": "persons recognised at the first guess",
    "reidentification.fnmr_at_fmr_0.01": "same persons not matched (FNMR) while 1 % of different persons are (FMR)",
    "reidentification.fnmr_at_fmr_0.001": "same persons not matched (FNMR) while 0.1 % of different persons are (FMR)",
    "reidentification.fnir_at_fpir_0.1": "known persons not found (FNIR) while 10 % of unknown ones raise a false alarm (FPIR)",
    "reidentification.fnir_at_fpir_0.01": "known persons not found (FNIR) while 1 % of unknown ones raise a false alarm (FPIR)",
    "reidentification.p_value": "probability that guessing would recognise as many (p)",
    "reidentification.chance": "persons recognised by guessing",
    "reidentification.least_recognisable": "smallest rate that would show with so few persons",
    "reidentification.originals.rank_1": "the same attack on the originals",
    "utility.ap_kept": "average precision that a face detector keeps",
    "utility.ap_kept.from_16_px": "average precision that a face detector keeps on faces from 16 px",
    "utility.faces_kept": "faces that a second detector finds again",
    "utility.canary": "change of a classifier's accuracy on originals",
    "utility.canary.anonymized": "change of a classifier's accuracy on anonymized images",
    "utility.canary.before": "accuracy of the classifier before",
    "utility.canary.after": "accuracy of the classifier after",
    "utility.classes.changed": "classes that changed more than chance explains",
    "utility.frechet": "Fréchet distance of features",
    "utility.kernel": "kernel distance of features",
    "naturalness.probe": "how well a network tells new faces from real ones (area under ROC; 0.5 is chance)",
    "naturalness.seam": "step at the seam, compared with other edges of the image",
    "groups.gap": "largest difference between groups in faces found again",
}
_SEEN: Final[Mapping[str, str]] = {"whole_image": "from the whole image", "surroundings": "from the surroundings alone"}
_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("review.proven", "review.reviewers", "review.kappa", "utility.classes.changed"), "number"),
    **dict.fromkeys(("utility.canary.before", "utility.canary.after"), "share"),
    **dict.fromkeys(("utility.canary", "utility.canary.anonymized", "groups.gap"), "points"),
    "review.seconds": "seconds",
}
BY_LABEL: Final = "missed.label."
_NUMBERS = ("utility.frechet", "utility.kernel", "naturalness.")
_SHARES = frozenset({"missed", "residual", "review", "reidentification", "utility", "groups"})
_PARTS = re.compile(r"\.(?!\d)")  # no decimal point
_CHANGE = re.compile(r"\b(change|difference|worse|gap|points)\b")
_NUMBER = re.compile(r"\b(p|kappa|score|seam|energy|distance|frechet|kernel|auc|naturalness|probe)\b")


def unit_of(name: str, *values: float | None) -> str:
    """Return the unit of a figure: `share` for a share of 1, `points` for a change of one, else mostly `number`.

    A value far outside 0 to 1 is no share.
    """
    if (unit := _UNITS.get(name)) is not None:
        return unit
    known = [value for value in values if value is not None]
    if name.endswith(".p_value"):
        return "number"
    is_share = name.partition(".")[0] in _SHARES and not name.startswith(_NUMBERS) and not name.endswith(".p_value")
    return "share" if is_share and all(-1 <= value <= 2 for value in known) else "number"


def unit_of_column(name: str, heading: str, *values: float | None) -> str:
    """Return the unit of a column of figures or other numbers in the table called `name`."""
    if _NUMBER.search(heading.lower()):
        return "number"
    unit = unit_of(f"{name}.", *values)
    return "points" if unit == "share" and _CHANGE.search(heading.lower()) else unit


def label_of(name: str) -> str:
    """Return what a figure is, in words."""
    for part, seen in _SEEN.items():
        if f".{part}." in name and (base := name.replace(f".{part}.", ".")) in LABELS:
            return f"{seen}: {LABELS[base]}"
    if name.startswith(BY_LABEL):
        return f"labelled {noun_of(name.removeprefix(BY_LABEL))} from {MIN_SIDE_PX} px left uncovered"
    return LABELS.get(name, _PARTS.sub(", ", name).replace("_", " "))
