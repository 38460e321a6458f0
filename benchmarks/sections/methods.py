"""A run over the photographs with each method, and its rate as a share of `solid`'s."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from anon_batch.anonymize.registry import BUILT_IN
from benchmarks.comparison import Rate, of_rates, play
from benchmarks.tables import Table, contender_rows, share
from benchmarks.workplace import Workplace

_FLOOR = "solid"


def measure(place: Workplace) -> dict[str, Any]:
    """Runs the methods in turn."""
    settings = place.settings
    pictures = place.photographs(max(settings.workers, settings.images // 10))
    own: dict[str, float] = {}
    faces = 0

    def run(method: str) -> Callable[[int], Rate]:
        def contender(_: int) -> Rate:
            nonlocal faces
            rate = place.run(pictures, settings={"anonymize.method": method})
            stats = json.loads((place.release / "stats.json").read_text(encoding="utf-8"))
            faces = stats["regions_anonymized"]
            own[method] = stats["methods"].get(method, 0) / faces if faces else 0.0
            return rate

        return contender

    results = play({method: run(method) for method in BUILT_IN}, settings.rounds, place.say)
    pairs = [(method, _FLOOR) for method in BUILT_IN if method != _FLOOR]
    known = {"set": dict(pictures.about), "workers": settings.workers, "faces": faces, "own_share": own}
    return known | of_rates(results, pairs)


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Rates, and how many faces the method treats itself."""
    rows = contender_rows(figures, {method: method for method in figures["contenders"]}, _FLOOR)
    about = figures["set"]
    note = (
        f"{figures['workers']} workers, {about['images']:,} pictures with {figures['faces'] / about['images']:.1f} treated boxes "
        "each. The faces that a method leaves to its fallbacks cost what these cost."
    )
    columns = ("method", "images/s", "CPU ms an image", "times solid", "treats itself")
    return [Table(columns, tuple((*row, share(figures["own_share"][row[0]])) for row in rows), (note,))]
