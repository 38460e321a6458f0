"""The metrics of a run and the way to Ray, whose nodes show them to Prometheus at /metrics with the prefix `ray_`.

The driver records them all, from what workers send with each shard: it costs the workers nothing, and a number is counted once.
No label holds a path, a name or an id of the user's: see `METRICS`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import ray
from ray.util import metrics as ray_metrics

_PREFIX = "anon_batch_"
_SET_AGAIN_S = 5.0
_STAGE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARD_BUCKETS_S = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        kind: a counter counts from the start of this driver; Ray adds `_total` to its name.
        text: what it is, with its unit.
        labels: names of its labels.
        buckets: upper bounds of a histogram.
    """

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Mapping[str, Metric] = {
    "build_info": Metric("gauge", "Always 1; the labels are versions.", ("version", "ray", "python")),
    "started_timestamp_seconds": Metric("gauge", "When this start of the driver began, seconds since 1970."),
    "last_commit_timestamp_seconds": Metric("gauge", "When the last shard was committed, seconds since 1970."),
    "rows": Metric("gauge", "Rows of the whole run."),
    "rows_done": Metric("gauge", "Rows that are committed, by all starts of the driver.", ("status",)),
    "workers": Metric("gauge", "Workers with loaded models, as the driver knows them."),
    "gate_value": Metric("gauge", "Figure of a gate over the rows that are committed; a share of 1.", ("gate",)),
    "gate_limit": Metric("gauge", "Limit of a gate; a share of 1.", ("gate",)),
    "gate_exceeded": Metric("gauge", "1 if the figure of a gate is beyond its limit, else 0.", ("gate",)),
    "images": Metric("counter", "Rows that ended; the reason is empty for published images.", ("status", "reason")),
    "regions": Metric(
        "counter",
        "Anonymized regions of committed rows; labels without a key in the job are `other`.",
        ("label", "method"),
    ),
    "labelled_regions": Metric("counter", "Regions of the ground truth in published images."),
    "missed_regions": Metric("counter", "Regions of the ground truth that published images still show."),
    "read_bytes": Metric("counter", "Bytes of sources that were read for committed rows."),
    "written_bytes": Metric("counter", "Bytes of published images."),
    "shards": Metric("counter", "Attempts at shards that ended.", ("outcome",)),
    "shard_errors": Metric("counter", "Attempts at shards that failed, by code of the error.", ("code",)),
    "storage_retries": Metric("counter", "Calls to a store that were repeated, by code of the error.", ("code",)),
    "shard_seconds": Metric("histogram", "Seconds of an attempt at a shard that was committed.", (), _SHARD_BUCKETS_S),
    "stage_seconds": Metric(
        "histogram", "Seconds of one stage for one image, the mean of a committed shard.", ("stage",), _STAGE_BUCKETS_S
    ),
    "stage_thread_seconds": Metric("counter", "Seconds that threads of workers spent in a stage.", ("stage",)),
}


class Point(NamedTuple):
    """One number to record: added to a counter, observed by a histogram, the new value of a gauge."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


class Recorder:
    """Records into Ray's metrics of this process, which must be connected to Ray, until it is closed.

    Because Ray forgets a gauge that is not set for about 20 s, a thread sets all gauges again; it goes on while the driver waits.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], Point] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._keep_gauges, name="metrics", daemon=True).start()

    def record(self, points: Sequence[Point]) -> None:
        """Record numbers; one that is not above 0 is left out of counters."""
        with self._lock:
            for point in points:
                self._record(point)
                if METRICS[point.name].kind == "gauge":
                    self._gauges[point.name, tuple(point.labels.items())] = point

    def close(self) -> None:
        """Let go of the gauges; must be called before Ray is left."""
        self._closed.set()

    def _record(self, point: Point) -> None:
        name, value, labels = point
        metric = self._metrics.get(name) or self._metrics.setdefault(name, _create(name))
        kind = METRICS[name].kind
        if kind == "gauge":
            metric.set(value, labels)
        elif kind == "histogram":
            metric.observe(value, labels)
        elif value > 0:
            metric.inc(value, labels)

    def _keep_gauges(self) -> None:
        with suppress(Exception):  # because Ray may be gone; a thread that raises would print a traceback
            while not self._closed.wait(_SET_AGAIN_S):
                with self._lock:
                    for point in self._gauges.values():
                        self._record(point)


class Records(Protocol):
    """What `open_recorder` returns."""

    def record(self, points: Sequence[Point]) -> None: ...
    def close(self) -> None: ...


class _RemoteRecorder:
    """Records in an actor, because the process of a Ray client (`ray://`) belongs to no node that shows metrics."""

    def __init__(self) -> None:
        self._actor = ray.remote(Recorder).options(num_cpus=0).remote()

    def record(self, points: Sequence[Point]) -> None:
        self._actor.record.remote(list(points))

    def close(self) -> None:
        self._actor.close.remote()


def open_recorder() -> Records:
    """Return where this process can record metrics; it must be connected to Ray."""
    return _RemoteRecorder() if ray.util.client.ray.is_connected() else Recorder()


def _create(name: str) -> Any:
    metric, full = METRICS[name], f"{_PREFIX}{name}"
    if metric.kind == "counter":
        return ray_metrics.Counter(full, metric.text, metric.labels)
    if metric.kind == "gauge":
        return ray_metrics.Gauge(full, metric.text, metric.labels)
    return ray_metrics.Histogram(full, metric.text, list(metric.buckets), metric.labels)
