"""Photographs: the bare loop, this project with one and with several workers, deface, and the project as fast as deface's
recall allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import accuracy
from benchmarks.comparison import Rate, check, of_rates, play
from benchmarks.pictures import PictureSet
from benchmarks.tables import Table, contender_rows, number, score_rows
from benchmarks.workplace import FAST, Workplace

ONE_LOOK = {"detect.refine_small": False}  # all that deface does is done then
TARGETS = {"run / bare": 0.9, "run one look / deface": 2.0, "run fast / deface": 4.0}
SIDES_PX = (448, 384, 352, 320)
_PAIRS = (
    ("run", "bare"),
    ("run", "deface"),
    ("run one look", "deface"),
    ("run 1 worker", "deface"),
    ("bare", "deface"),
    ("run", "run 1 worker"),
)


def measure(place: Workplace) -> dict[str, Any]:
    """Runs all contenders in turn."""
    settings = place.settings
    pictures = place.photographs(settings.images)
    figures: dict[str, Any] = {"set": dict(pictures.about), "workers": settings.workers}

    def run(workers: int, keys: dict[str, Any]) -> Callable[[int], Rate]:
        return lambda _: place.run(pictures, workers, keys)

    contenders: dict[str, Callable[[int], Rate]] = {
        "bare": lambda _: place.bare(pictures),
        "run 1 worker": run(1, {}),
        "run": run(settings.workers, {}),
        "run one look": run(settings.workers, ONE_LOOK),
        "deface": lambda _: place.deface(pictures),
    }
    pairs = list(_PAIRS)
    if pictures.is_labelled:
        backend = {"detect.backend": settings.backend}
        theirs = place.deface_scores(pictures)
        scores = {
            "run": _scores(pictures, backend),
            "run one look": _scores(pictures, {**ONE_LOOK, **backend}),
            "deface": theirs,
        }
        figures["scores"] = scores
        if place.has_fast:
            keys = {side: {**FAST, "detect.max_side_px": side} for side in SIDES_PX}
            tried = {side: _scores(pictures, {**keys[side], **backend}) for side in SIDES_PX}
            figures |= {"max_side_px": tried, "chosen_side_px": smallest_side(tried, theirs)}
            if (chosen := figures["chosen_side_px"]) is not None:
                scores["run fast"] = tried[chosen]
                contenders["run fast"] = run(settings.workers, keys[chosen])
                pairs.append(("run fast", "deface"))
        figures["checks"] = {
            f"recall of {name}, deface's as limit": check(
                ours["all"]["recall"], theirs["all"]["recall"], "", at_most=False
            )
            for name, ours in scores.items()
            if name != "deface"
        }
    by_cpu = [*_PAIRS[:3], *pairs[len(_PAIRS) :]]
    return figures | of_rates(play(contenders, settings.rounds, place.say), pairs, TARGETS, by_cpu=by_cpu)


def _scores(pictures: PictureSet, keys: Mapping[str, Any]) -> accuracy.Scores:
    return accuracy.score(accuracy.project_detector(keys), pictures.distinct)


def smallest_side(tried: Mapping[int, accuracy.Scores], theirs: accuracy.Scores) -> int | None:
    """The smallest side at which recall is no lower than `theirs`; None where there is none."""
    return min((side for side, ours in tried.items() if accuracy.no_lower(ours, theirs)), default=None)


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Rates, then recall, then recall by side."""
    labels = _labels(figures)
    about = figures["set"]
    rates = Table(
        ("contender", "images/s", "CPU ms an image", "times deface"),
        contender_rows(figures, labels, "deface"),
        (
            f"{about['images']:,} pictures, {about['distinct']} of them different, {about['megapixels']:.2f} megapixels each.",
        ),
    )
    if "scores" not in figures:
        return [rates]
    recall = Table(("contender", "recall", "from 16 px", "precision"), score_rows(figures["scores"], labels))
    if "max_side_px" not in figures:
        return [rates, recall]
    # JSON has text for keys, and figures may come from a file.
    tried = {int(side): scores for side, scores in figures["max_side_px"].items()}
    limit = figures["scores"]["deface"]
    rows = [
        (
            f"{side} px{' (taken)' if side == figures['chosen_side_px'] else ''}",
            number(scores["all"]["recall"], 3),
            number(scores["from_16_px"]["recall"], 3),
            "no lower" if accuracy.no_lower(scores, limit) else "lower",
        )
        for side, scores in sorted(tried.items(), reverse=True)
    ]
    return [rates, recall, Table(("yunet_n, detect.max_side_px", "recall", "from 16 px", "than deface's"), tuple(rows))]


def _labels(figures: Mapping[str, Any]) -> dict[str, str]:
    workers = figures["workers"]
    known = {
        "bare": f"bare loop, {workers} processes",
        "run 1 worker": "run, 1 worker",
        "run": f"run, {workers} workers",
        "run one look": f"run, {workers} workers, one look",
        "run fast": f"run, {workers} workers, one look, yunet_n, max_side_px {figures.get('chosen_side_px')}",
        "deface": "deface --replacewith solid",
    }
    return {name: label for name, label in known.items() if name in figures["contenders"]}
