"""What the metrics of a run say about each of its shards."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import ray

from anon_batch import __version__
from anon_batch.cluster.metrics import Point, Records, open_recorder
from anon_batch.formats.gates_json import Gates
from anon_batch.pipeline.observers import Ending
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.totals import Totals
from anon_batch.records import STATUSES, ShardResult
from anon_batch.stats import ShardStats
from anon_batch.stats.counts import OTHER
from anon_batch.stats.missed import ALL

_MAX_METHODS = 32
_GATES_EVERY_S = 10.0  # as often as Ray sends metrics


class RunMetrics:
    """Records the metrics of a run; an `Observer`. Leave it as a context manager before Ray is left.

    Args:
        run: the run.
        totals: of the rows that earlier starts committed; what this one commits is added.
        recorder: where to record.
    """

    def __init__(self, run: Run, totals: Totals, recorder: Records | None = None) -> None:
        self._run = run
        self._recorder = recorder or open_recorder()
        self._labels = frozenset(label for label, _ in run.config.anonymize.labels())
        self._methods: set[str] = set()
        self._totals = totals
        self._gates_at = 0.0
        versions = {"version": __version__, "ray": ray.__version__, "python": platform.python_version()}
        self._recorder.record(
            [
                Point("build_info", 1, versions),
                Point("started_timestamp_seconds", time.time()),
                Point("rows", run.plan.total),
                *self._rows_done(),
            ]
        )

    def __enter__(self) -> RunMetrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._recorder.close()

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Nothing, because the metrics began with this object."""

    def note(self, text: str) -> None:
        """Nothing, because metrics have no text."""

    def workers(self, number: int) -> None:
        """Record how many workers there are."""
        self._recorder.record([Point("workers", number)])

    def shard(self, result: ShardResult) -> None:
        """Record how an attempt at a shard ended."""
        points = [Point("shards", 1, {"outcome": result.outcome})]
        if result.outcome == "error":
            points.append(Point("shard_errors", 1, {"code": result.code or "unknown"}))
        repeated = Counter(result.retries) + Counter(self._run.storage.take_repetitions())
        points += [Point("storage_retries", number, {"code": code}) for code, number in repeated.items()]
        if result.outcome in ("committed", "already_committed"):
            points += self._committed(result)
        self._recorder.record(points)

    def ended(self, ending: Ending) -> None:
        """Record the gates of a run that finished."""
        if ending.gates is not None:
            self._recorder.record(list(_gate_points(ending.gates)))

    def _committed(self, result: ShardResult) -> Iterator[Point]:
        stats = ShardStats.from_json(result.stats or self._stored(result))
        self._totals.add(stats)
        yield Point("last_commit_timestamp_seconds", time.time())
        yield from self._rows_done()
        yield from _images(stats)
        yield from self._regions(stats)
        missed = stats.missed.groups.get(ALL, {}).get(ALL)
        if missed is not None:
            yield Point("labelled_regions", missed.faces)
            yield Point("missed_regions", missed.hits)
        yield Point("read_bytes", stats.bytes_in)
        yield Point("written_bytes", stats.bytes_out)
        if result.outcome == "committed":
            yield Point("shard_seconds", result.seconds)
        for stage, seconds in result.timings.items():
            yield Point("stage_seconds", seconds / result.spec.count, {"stage": stage})
            yield Point("stage_thread_seconds", seconds, {"stage": stage})
        if time.monotonic() - self._gates_at >= _GATES_EVERY_S:
            self._gates_at = time.monotonic()
            yield from _gate_points(self._totals.gates(self._run.config.gates))

    def _stored(self, result: ShardResult) -> str:
        """Return the statistics of a shard whose worker died after its commit."""
        [(_, meta)] = self._run.release.read_metas([result.spec])
        return meta.stats

    def _rows_done(self) -> list[Point]:
        statuses = self._totals.statuses
        return [Point("rows_done", statuses.get(status, 0), {"status": status}) for status in STATUSES]

    def _regions(self, stats: ShardStats) -> Iterator[Point]:
        for label, own in stats.labels.items():
            for method, number in own.methods.items():
                if len(self._methods) < _MAX_METHODS:
                    self._methods.add(method)
                yield Point(
                    "regions",
                    number,
                    {
                        "label": label if label in self._labels else OTHER,
                        "method": method if method in self._methods else OTHER,
                    },
                )


def _images(stats: ShardStats) -> Iterator[Point]:
    left = Counter(stats.statuses)
    for key, number in stats.reasons.items():
        status, _, reason = key.partition(":")
        left[status] -= number
        yield Point("images", number, {"status": status, "reason": reason})
    for status, number in left.items():
        yield Point("images", number, {"status": status, "reason": ""})


def _gate_points(gates: Gates) -> Iterator[Point]:
    for result in gates.results:
        labels: Mapping[str, str] = {"gate": result.name}
        yield Point("gate_limit", result.limit, labels)
        yield Point("gate_exceeded", float(not result.passed), labels)
        if result.value is not None:
            yield Point("gate_value", result.value, labels)
