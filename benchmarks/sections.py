"""What is measured: each section plays some contenders on one image set and returns its text and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import contenders, images, million_rows
from benchmarks.report import Result, medians, play, table

METHODS = ("solid", "pixelate", "blur", "inpaint", "swap", "gan")


@dataclass(frozen=True)
class Settings:
    """What a benchmark runs on.

    Args:
        photographs: files.
        scratch: an empty folder.
        count: photographs are repeated to so many images.
        large: images of 12 megapixels.
        rounds: times that each contender runs.
        workers: Ray actors of the larger run.
        rows: of the section `million_rows`.
    """

    photographs: list[Path]
    scratch: Path
    count: int = 400
    large: int = 24
    rounds: int = 3
    workers: int = 2
    rows: int = 1_000_000


class Figures(NamedTuple):
    """A section's table and its medians."""

    text: str
    medians: Mapping[str, Any]


def photos(settings: Settings) -> Figures:
    """Compare the bare loop, runs with one worker and with several, the preset `fast`, and deface, on photographs."""
    return _usual(settings, images.repeat(settings.photographs, settings.scratch / "photos", settings.count), "photos")


def faceless(settings: Settings) -> Figures:
    """Compare them on the photographs with every face covered: what images without faces cost."""
    covered = images.cover_faces(settings.photographs, settings.scratch / "covered")
    return _usual(settings, images.repeat(covered, settings.scratch / "faceless", settings.count), "faceless")


def large(settings: Settings) -> Figures:
    """Compare them on photographs enlarged to 12 megapixels."""
    enlarged = images.enlarge(settings.photographs[: settings.large], settings.scratch / "enlarged")
    return _usual(settings, images.repeat(enlarged, settings.scratch / "large", settings.large), "large")


def methods(settings: Settings) -> Figures:
    """Compare the methods on photographs, each in a run with one worker."""
    folder = images.repeat(settings.photographs, settings.scratch / "methods", settings.count)
    players = {name: _run(settings, folder, method=name) for name in METHODS}
    results = play(players, settings.rounds)
    return Figures(table("methods", results, [(name, "solid") for name in METHODS[1:]]), medians(results))


def overhead(settings: Settings) -> Figures:
    """Measure what a run costs beyond the bare loop, and what a run of one image costs."""
    folder = images.repeat(settings.photographs, settings.scratch / "overhead", settings.count)
    single = images.repeat(settings.photographs, settings.scratch / "single", 1)
    results = play(
        {
            "run of one image": _run(settings, single),
            "run, 1 worker": _run(settings, folder),
            "bare loop": lambda: contenders.bare(folder, settings.scratch / "bare"),
        },
        settings.rounds,
    )
    start_s = medians(results)["run of one image"]["cpu_ms"] / 1e3
    text = table("overhead", results, [("run, 1 worker", "bare loop")])
    return Figures(f"{text}\n  a run of one image takes {start_s:.1f} s of CPU time", medians(results))


def rows(settings: Settings) -> Figures:
    """Measure run, resume and status of a long manifest whose images cost next to nothing."""
    figures = million_rows.measure(settings.scratch / "rows", settings.rows, settings.workers)
    return Figures(million_rows.report(figures), figures)


SECTIONS: dict[str, Callable[[Settings], Figures]] = {
    "photos": photos,
    "faceless": faceless,
    "large": large,
    "methods": methods,
    "overhead": overhead,
    "million_rows": rows,
}


def _usual(settings: Settings, folder: Path, title: str) -> Figures:
    several = f"run, {settings.workers} workers"
    fast = f"{several}, fast"
    results = play(
        {
            "bare loop": lambda: contenders.bare(folder, settings.scratch / "bare"),
            "run, 1 worker": _run(settings, folder),
            several: _run(settings, folder, settings.workers),
            fast: _run(settings, folder, settings.workers, job={"detect": {"preset": "fast"}}),
            "deface": lambda: contenders.deface(folder),
        },
        settings.rounds,
    )
    pairs = (("run, 1 worker", "bare loop"), (several, "run, 1 worker"), (several, "deface"), (fast, "deface"))
    return Figures(table(f"{title}: {len(list(folder.iterdir()))} images", results, pairs), medians(results))


def _run(
    settings: Settings, folder: Path, workers: int = 1, method: str = "solid", job: Mapping[str, Any] | None = None
) -> Callable[[], Result]:
    return lambda: contenders.run(folder, settings.scratch / "run", job or {}, workers, method=method)
