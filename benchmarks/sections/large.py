"""Photographs of 12 megapixels: searched in windows, as is the default, at a reduced size, at a smaller one with
the fast detector, and by deface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import accuracy
from benchmarks.comparison import Rate, of_rates, play
from benchmarks.tables import Table, contender_rows, score_rows
from benchmarks.workplace import FAST, Workplace

SIDE_PX = 1536
FAST_SIDE_PX = 960  # a fourth of the pictures' longer side: a JPEG's decoder makes that size itself
TARGETS = {"run fast / deface": 10.0}
_SHARD_ROWS = 1  # so few pictures: or a worker would idle while the other finishes, as none does in a long run


def measure(place: Workplace) -> dict[str, Any]:
    """Runs this project with several settings and deface in turn."""
    settings = place.settings
    pictures = place.large(settings.large_images)
    scores: dict[str, accuracy.Scores] = {}

    def run(name: str, keys: dict[str, Any]) -> Callable[[int], Rate]:
        def contender(_: int) -> Rate:
            rate = place.run(pictures, settings=keys | {"engine.shard_rows": _SHARD_ROWS})
            if pictures.is_labelled:
                scores[name] = accuracy.of_release(place.release)
            return rate

        return contender

    contenders: dict[str, Callable[[int], Rate]] = {
        "run": run("run", {}),
        "run reduced": run("run reduced", {"detect.max_side_px": SIDE_PX}),
        "deface": lambda _: place.deface(pictures),
    }
    pairs = [("run", "deface"), ("run reduced", "deface"), ("run reduced", "run")]
    if place.has_fast:
        contenders["run fast"] = run("run fast", {**FAST, "detect.max_side_px": FAST_SIDE_PX})
        pairs.insert(2, ("run fast", "deface"))
    results = play(contenders, settings.rounds, place.say)
    if pictures.is_labelled:
        scores["deface"] = place.deface_scores(pictures)
    known = {"set": dict(pictures.about), "workers": settings.workers, "scores": scores}
    return known | of_rates(results, pairs, TARGETS, by_cpu=pairs[:-1])


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Rates, then recall."""
    about, workers = figures["set"], figures["workers"]
    known = {
        "run": f"run, {workers} workers",
        "run reduced": f"run, {workers} workers, max_side_px {SIDE_PX}",
        "run fast": f"run, {workers} workers, yunet_n, max_side_px {FAST_SIDE_PX}",
        "deface": "deface --replacewith solid",
    }
    labels = {name: label for name, label in known.items() if name in figures["contenders"]}
    note = (
        f"{about['images']} pictures of {about['megapixels']:.1f} megapixels and {about['bytes'] / 1e6:.1f} MB, enlarged from "
        f"photographs, with grain; `engine.shard_rows: {_SHARD_ROWS}`."
    )
    columns = ("contender", "images/s", "CPU ms an image", "times deface")
    found = [Table(columns, contender_rows(figures, labels, "deface"), (note,))]
    if figures["scores"]:
        found.append(Table(("contender", "recall", "from 16 px", "precision"), score_rows(figures["scores"], labels)))
    return found
