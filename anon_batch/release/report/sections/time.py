"""Time: throughput over the run, and where the workers spent it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from anon_batch.formats.run_json import RunJson
from anon_batch.release.report.document import Block, Drawn, Figures, NamedFigure, Section, Text, table
from anon_batch.release.report.plots import Axis, Line, Lines
from anon_batch.release.report.timeline import Timeline
from anon_batch.release.report.words import format_percent
from anon_batch.stats import TimeShares
from anon_batch.stats.figure import Figure
from anon_batch.units import format_count, format_duration


def time_section(record: RunJson, summary: Mapping[str, Any], time: TimeShares, timeline: Timeline | None) -> Section:
    """Return throughput and times."""
    blocks: list[Block] = [*_whole(record, summary, time), *_over_time(timeline)]
    if time.phases:
        blocks.append(
            Text(
                f"{format_duration(time.worker_s)} of worker time. The networks' device was idle for "
                f"{'an unknown share' if time.idle_share is None else format_percent(time.idle_share)} of it."
            )
        )
    blocks += table(
        "phases",
        "The thread that drives the networks",
        {"phase": "text", "time": "seconds", "share": "share"},
        [(phase.text, phase.seconds, phase.share) for phase in time.phases],
    )
    blocks += table(
        "stages",
        "Stages, summed over threads",
        {"stage": "text", "time": "seconds", "share": "share", "CPU time": "seconds", "share of CPU": "share"},
        [(own.text, own.wall_s, own.wall_share, own.cpu_s, own.cpu_share) for own in time.stages],
        "Stage times include waiting for storage, locks and a free CPU."
        + (
            f" The workers' processes used {format_duration(time.process_cpu_s)} of CPU, {format_duration(time.elsewhere_cpu_s)} "
            "of it outside the stages' own threads. The last commit of each worker, and attempts whose process died, are not in "
            "these figures."
            if time.phases
            else ""
        ),
    )
    return Section("time", "Time and throughput", tuple(blocks))


def _whole(record: RunJson, summary: Mapping[str, Any], time: TimeShares) -> Iterator[Block]:
    figures = [
        ("bytes_in", "source bytes read", float(summary["bytes_in"]), "bytes"),
        ("bytes_out", "bytes of published images", float(summary["bytes_out"]), "bytes"),
    ]
    if record.finished_at is not None:
        elapsed = datetime.fromisoformat(record.finished_at) - datetime.fromisoformat(record.created_at)
        figures.insert(
            0, ("elapsed", "from the first start to the end, pauses included", elapsed.total_seconds(), "seconds")
        )
    if (rate := time.images_per_s(int(summary["rows"]))) is not None:
        figures.insert(0, ("rows_per_s", "rows per second of one worker", rate, "number"))
    named = tuple(NamedFigure(f"time.{name}", label, Figure(value), unit) for name, label, value, unit in figures)
    yield Figures("whole", "The whole run", named)


def _over_time(timeline: Timeline | None) -> Iterator[Block]:
    if timeline is None:
        yield Text("Throughput over time is not shown: it needs the commits of at least two shards.", "note")
        return
    step = timeline.interval_s
    hours = step * len(timeline.rows) >= 3 * 3600
    scale, unit = (3600.0, "hours") if hours else (60.0, "minutes")
    points = tuple(((i + 0.5) * step / scale, rows / step) for i, rows in enumerate(timeline.rows))
    sampled = (
        f" An even sample of {format_count(timeline.parts)} shards, scaled to all."
        if timeline.parts < timeline.of
        else ""
    )
    about = (
        f"Rows committed per second in {format_count(len(points))} intervals of {format_duration(step)}, over "
        f"{format_count(timeline.of)} shards and all workers; a pause shows as 0.{sampled}"
    )
    axes = Axis(f"{unit} since the first start"), Axis("rows per second")
    yield Drawn("plot-throughput", Lines("Throughput over time", about, *axes, (Line("all workers", points),)))
