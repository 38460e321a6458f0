"""What the check `residual` says about a release: the share of images in which something is left, and how much the check finds.

With finds in k of n checked images and a measured recall r, about k / r images had something left at the first look. If every
image was checked, what was found is anonymized or withheld, and k / r - k images remain: a share of k (1 - r) / ((n - w) r),
where w is the number of images that the check withheld. If a sample was checked, the share is that of the sample: k / (n r).

This assumes that the check finds what is left as often as planted faces, which are upright and mostly well visible, so that the
truth may be higher; and it counts every find as a face, though many are none, so that the truth may be lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.stats.counts import OTHER
from anon_batch.stats.exact import clopper_pearson, lower_bound, upper_bound
from anon_batch.stats.figure import Figure

_EACH = 0.975  # confidence of each of two bounds, so that both hold with 95 %
_PLANTED, _FOUND = "planted_", "planted_found_"
_NOT_PLANTED = "no face was planted: `checks.residual.plant` is 0, or too few images were checked"


def residual_figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of the check, from the summary that stats.json holds.

    Returns:
        `residual.share`: share of images in which something remains, with a one-sided exact upper bound as `high`;
        `residual.found`: share of the checked images in which the first look found something;
        `residual.recall`: share of planted faces that the check found; `residual.recall.<band>` by their size, `12_24` px and so
        on, only for bands with planted faces. What was not measured is `Figure.missing`.
    """
    checks = summary.get("checks", {})
    counts = checks.get("residual")
    why = ""
    if not isinstance(counts, Mapping):
        why = "the job has no residual check"
    elif OTHER in checks:
        why = "the job's checks count more than the statistics hold"
    elif not counts.get("checked"):
        why = "the check `residual` saw no image"
    if why:
        return {name: Figure.missing(why) for name in ("residual.share", "residual.found", "residual.recall")}
    bands = sorted((name.removeprefix(_FOUND) for name in _planted(counts)), key=lambda band: int(band.split("_")[0]))
    return {
        "residual.share": _share(counts, bands),
        "residual.found": _found(counts),
        "residual.recall": _recall(counts, bands),
        **{f"residual.recall.{band}": _recall(counts, [band]) for band in bands},
    }


def _planted(counts: Mapping[str, int]) -> list[str]:
    return [name.removeprefix(_PLANTED) for name in counts if name.startswith(_PLANTED) and not name.startswith(_FOUND)]


def _sum(counts: Mapping[str, int], prefix: str, bands: list[str]) -> int:
    return sum(counts.get(f"{prefix}{band}", 0) for band in bands)


def _recall(counts: Mapping[str, int], bands: list[str]) -> Figure:
    planted = _sum(counts, _PLANTED, bands)
    if not planted:
        return Figure.missing(_NOT_PLANTED)
    found = _sum(counts, _FOUND, bands)
    low, high = clopper_pearson(found, planted) or (0.0, 1.0)
    note = "synthetic faces planted on copies that are not published; Clopper-Pearson"
    return Figure(found / planted, low, high, planted, "planted faces", note)


def _found(counts: Mapping[str, int]) -> Figure:
    found, checked = counts.get("found", 0), counts["checked"]
    low, high = clopper_pearson(found, checked) or (0.0, 1.0)
    return Figure(found / checked, low, high, checked, "checked images", "first look; false finds included")


def _share(counts: Mapping[str, int], bands: list[str]) -> Figure:
    planted, seen = _sum(counts, _PLANTED, bands), _sum(counts, _FOUND, bands)
    if not planted:
        return Figure.missing(f"the check's recall is unknown: {_NOT_PLANTED}")
    if not seen:
        return Figure.missing(f"the check found none of {planted:,} planted faces, so that its finds say nothing")
    found, checked = counts.get("found", 0), counts["checked"]
    whole, published = not counts.get("skipped"), checked - counts.get("withheld", 0)
    if whole and published <= 0:
        return Figure.missing("the check withheld every image that it saw")

    def left(share: float, recall: float) -> float:
        remaining = (1 - recall) * checked / (recall * published) if whole else 1 / recall
        return min(share * remaining, 1.0)

    high = left(upper_bound(found, checked, _EACH), lower_bound(seen, planted, _EACH))
    value = left(found / checked, seen / planted)
    what = "all images were checked and what was found is anonymized or withheld" if whole else "estimate from a sample"
    note = (
        f"{what}; found at the first look in {found:,}, recall {seen:,} of {planted:,} planted faces; one-sided 95 % bound; "
        "assumes that what is left is found as often as planted faces, and counts every find as one"
    )
    return Figure(value, None, high, checked, "checked images", note)
