"""Photographs: the bare loop, this project with one and with several workers, deface, and the project as fast as deface's
recall allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobs.bench import accuracy
from jobs.bench.comparison import Rate, check, of_rates, play
from jobs.bench.pictures import PictureSet
from jobs.bench.tables import Table, contender_rows, number, score_rows
from jobs.bench.workplace import Workplace

TARGETS = {"run / bare": 0.85, "run / deface": 2.0}
SIDES_PX = (448, 384, 352, 320)
_PAIRS = (("run", "bare"), ("run", "deface"), ("run 1 worker", "deface"), ("bare", "deface"), ("run", "run 1 worker"))


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
        "deface": lambda _: place.deface(pictures),
    }
    pairs = list(_PAIRS)
    if pictures.is_labelled:
        scores = {"run": _scores(pictures, settings.backend), "deface": place.deface_scores(pictures)}
        tried = {side: _scores(pictures, settings.backend, side) for side in SIDES_PX}
        figures |= {"scores": scores, "max_side_px": tried, "chosen_side_px": smallest_side(tried, scores["deface"])}
        if (side := figures["chosen_side_px"]) is not None:
            scores["run reduced"] = tried[side]
            contenders["run reduced"] = run(settings.workers, {"detect.max_side_px": side})
            pairs.append(("run reduced", "deface"))
        ours, theirs = (scores[name]["all"]["recall"] for name in ("run", "deface"))
        figures["checks"] = {"recall of run, deface's as limit": check(ours, theirs, "", at_most=False)}
    return figures | of_rates(play(contenders, settings.rounds, place.say), pairs, TARGETS, by_cpu=_PAIRS[:2])


def _scores(pictures: PictureSet, backend: str, side_px: int | None = None) -> accuracy.Scores:
    detector = accuracy.project_detector({"detect.max_side_px": side_px, "detect.backend": backend})
    return accuracy.score(detector, pictures.distinct)


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
        (f"{about['images']:,} pictures, {about['distinct']} of them different, {about['megapixels']:.2f} megapixels each.",),
    )
    if "scores" not in figures:
        return [rates]
    recall = Table(("contender", "recall", "from 16 px", "precision"), score_rows(figures["scores"], labels))
    # JSON has text for keys, and figures may come from a file.
    tried = {int(side): scores for side, scores in figures["max_side_px"].items()}
    limit = figures["scores"]["deface"]
    rows = [
        (
            f"{side} px{' (taken)' if side == figures['chosen_side_px'] else ''}",
            number(scores["all"]["recall"], 3), number(scores["from_16_px"]["recall"], 3),
            "no lower" if accuracy.no_lower(scores, limit) else "lower",
        )
        for side, scores in sorted(tried.items(), reverse=True)
    ]  # fmt: skip
    return [rates, recall, Table(("detect.max_side_px", "recall", "from 16 px", "than deface's"), tuple(rows))]


def _labels(figures: Mapping[str, Any]) -> dict[str, str]:
    workers = figures["workers"]
    known = {
        "bare": f"bare loop, {workers} processes",
        "run 1 worker": "run, 1 worker",
        "run": f"run, {workers} workers",
        "run reduced": f"run, {workers} workers, max_side_px {figures.get('chosen_side_px')}",
        "deface": "deface --replacewith solid",
    }
    return {name: label for name, label in known.items() if name in figures["contenders"]}
