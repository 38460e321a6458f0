"""From a measured sample to the whole job: sizes, requests, hours, money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anon_batch.config import JobConfig
from anon_batch.estimate.measure import Measurement
from anon_batch.estimate.requests import LAYOUTS, Layout, Requests, Workload, expected_lossy_shards, requests_of
from anon_batch.records import STATUSES
from anon_batch.stats import mean_interval, wilson

GB = 2**30  # what stores charge by
_TAR_ROW_BYTES = 2304  # two headers, the JSON's block, half a block of padding on the average


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency; None: not given, so not counted.

    Args:
        worker_hour: of an actor's share of a machine, GPU not included.
        gpu_hour: of one GPU.
        put_1000: of 1,000 PUT and LIST requests.
        get_1000: of 1,000 GET and HEAD requests.
        gb_month: of storing 2**30 bytes for a month.
    """

    worker_hour: float | None = None
    gpu_hour: float | None = None
    put_1000: float | None = None
    get_1000: float | None = None
    gb_month: float | None = None


@dataclass(frozen=True, slots=True)
class StatusShare:
    """Expected share of a status with its 95 % interval (of the rows, not of what the detector misses)."""

    status: str
    rows: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """What one layout asks of the store; sizes are of the whole job.

    Args:
        layout: name.
        chosen: whether the job uses it; the others are computed from this one's pictures.
        requests: by kind.
        output_bytes, ledger_bytes: stored in the end.
        requests_cost, month_cost: of all requests, and of keeping it for a month; None without prices.
    """

    layout: str
    chosen: bool
    requests: Requests
    output_bytes: int
    ledger_bytes: int
    requests_cost: float | None
    month_cost: float | None


@dataclass(frozen=True, slots=True)
class Width:
    """The job on a number of workers.

    Args:
        workers: actors.
        hours: of the clock.
        worker_hours, gpu_hours: of all of them.
        cost: of workers, GPUs and requests, without storage; None when no price of these was given.
    """

    workers: int
    hours: float
    worker_hours: float
    gpu_hours: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The whole job.

    Args:
        rows: of the job.
        sample_rows: it was measured on.
        images_per_s: of one worker on the CPUs that it reserves.
        statuses: expected shares.
        faces_per_image: mean and its 95 % interval; None if no picture could be searched.
        bytes_in: source bytes.
        layouts: the three of them.
        widths: one entry a number of workers.
    """

    rows: int
    sample_rows: int
    images_per_s: float
    statuses: tuple[StatusShare, ...]
    faces_per_image: tuple[float, float, float] | None
    bytes_in: int
    layouts: tuple[LayoutPlan, ...]
    widths: tuple[Width, ...]


def estimate_job(found: Measurement, config: JobConfig, workers: Sequence[int], prices: Prices) -> Estimate:
    """Scales a sample up.

    Args:
        found: the sample.
        config: the job.
        workers: numbers of actors to compute the job for, each at least 1.
        prices: of everything.

    Returns:
        The estimate. The hours take workers as independent: storage and sources that keep up with them, and machines on which
        they do not get in each other's way.
    """
    layouts = tuple(_layout_plan(name, found, config, max(workers), prices) for name in LAYOUTS)
    rate = found.images_per_s_on(config.engine.num_cpus)
    worker_hours = found.total_rows / rate / 3600
    gpu_hours = worker_hours * config.engine.num_gpus
    widths = []
    for count in workers:
        sent = requests_of(_workload(config.write.layout, found, config, count))
        parts = [
            _times(worker_hours, prices.worker_hour),
            _times(gpu_hours, prices.gpu_hour) if config.engine.num_gpus else None,
            _requests_cost(sent, prices),
        ]
        widths.append(Width(count, worker_hours / count, worker_hours, gpu_hours, _sum(parts)))
    return Estimate(
        found.total_rows,
        found.rows,
        rate,
        tuple(_status_share(found, status) for status in STATUSES),
        mean_interval(found.stats.regions_per_image),
        _scaled(found.stats.bytes_in, found),
        layouts,
        tuple(widths),
    )


def _layout_plan(layout: Layout, found: Measurement, config: JobConfig, workers: int, prices: Prices) -> LayoutPlan:
    sent = requests_of(_workload(layout, found, config, workers))
    output = _scaled(_stored_bytes(layout, found, config) + found.provenance_bytes, found)
    ledger = _scaled(found.audit_bytes + found.rows_bytes, found)
    month = _times((output + ledger) / GB, prices.gb_month)
    chosen = layout == config.write.layout
    return LayoutPlan(layout, chosen, sent, output, ledger, _requests_cost(sent, prices), month)


def _workload(layout: Layout, found: Measurement, config: JobConfig, workers: int) -> Workload:
    lost, shard_rows = 1 - found.published / found.rows, config.engine.shard_rows
    return Workload(
        found.total_rows,
        _scaled(found.published, found),
        layout,
        shard_rows,
        workers,
        expected_lossy_shards(found.total_rows, shard_rows, lost),
        _stored_bytes(layout, found, config) / found.rows * min(shard_rows, found.total_rows),
    )


def _stored_bytes(layout: Layout, found: Measurement, config: JobConfig) -> int:
    """Bytes of the sample's pictures in a layout: measured in the job's own, computed in the others."""
    if layout == config.write.layout:
        return found.picture_bytes
    return found.stats.bytes_out + (_TAR_ROW_BYTES * found.published if layout == "webdataset" else 0)


def _status_share(found: Measurement, status: str) -> StatusShare:
    rows = found.stats.statuses.get(status, 0)
    share = rows / found.rows
    low, high = (share, share) if found.is_everything else wilson(rows, found.rows) or (share, share)
    return StatusShare(status, rows, share, low, high)


def _scaled(amount: int, found: Measurement) -> int:
    return round(amount * found.total_rows / found.rows)


def _requests_cost(sent: Requests, prices: Prices) -> float | None:
    parts = [_times(sent.put_class / 1000, prices.put_1000), _times(sent.get_class / 1000, prices.get_1000)]
    return _sum(parts)


def _times(amount: float, price: float | None) -> float | None:
    return None if price is None else amount * price


def _sum(parts: Sequence[float | None]) -> float | None:
    given = [part for part in parts if part is not None]
    return sum(given) if given else None
