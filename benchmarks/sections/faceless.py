"""The photographs with every face covered: what a data set costs in which there is nothing to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.comparison import Rate, of_rates, play
from benchmarks.tables import Table, contender_rows, share
from benchmarks.workplace import FAST, Workplace

TARGETS = {"run fast / deface": 5.0}


def measure(place: Workplace) -> dict[str, Any]:
    """Runs this project, with its default and with its fast detector, and deface in turn."""
    settings = place.settings
    pictures = place.faceless(max(2, settings.images // 2))
    statuses: dict[str, int] = {}

    def run(_: int) -> Rate:
        rate = place.run(pictures)
        statuses.update(json.loads((place.release / "stats.json").read_text(encoding="utf-8"))["statuses"])
        return rate

    contenders: dict[str, Callable[[int], Rate]] = {"run": run, "deface": lambda _: place.deface(pictures)}
    pairs = [("run", "deface")]
    if place.has_fast:
        contenders["run fast"] = lambda _: place.run(pictures, settings=FAST)
        pairs.append(("run fast", "deface"))
    results = play(contenders, settings.rounds, place.say)
    clean = statuses["clean"] / sum(statuses.values())
    known = {"set": dict(pictures.about), "workers": settings.workers, "clean_share": clean}
    return known | of_rates(results, pairs, TARGETS, by_cpu=pairs)


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Rates."""
    about = figures["set"]
    known = {
        "run": f"run, {figures['workers']} workers",
        "run fast": f"run, {figures['workers']} workers, yunet_n",
        "deface": "deface --replacewith solid",
    }
    labels = {name: label for name, label in known.items() if name in figures["contenders"]}
    note = (
        f"{about['images']:,} pictures, {about['distinct']} of them different, {about['megapixels']:.2f} megapixels each; "
        f"{share(about['covered_share'])} of their pixels are covered, {about['left_out']} photographs were left out because a "
        f"detector still found something; {share(figures['clean_share'])} of the run's rows ended as `clean`."
    )
    columns = ("contender", "images/s", "CPU ms an image", "times deface")
    return [Table(columns, contender_rows(figures, labels, "deface"), (note,))]
