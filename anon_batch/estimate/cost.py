"""Scales a measured sample to the whole job: sizes, requests, hours, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anon_batch import plugins
from anon_batch.config import JobConfig
from anon_batch.estimate.measure import Measurement
from anon_batch.estimate.requests import LAYOUTS, Layout, Requests, scale_requests, stored_bytes
from anon_batch.records import STATUSES
from anon_batch.stats import mean_interval, wilson

GB = 2**30  # what stores charge by


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency; None: not given and not counted.

    Args:
        worker_hour: of one worker for an hour, without its GPU.
        gpu_hour: of one GPU for an hour.
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
    """Expected share of rows with a status, with its 95 % interval."""

    status: str
    rows: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LayoutEstimate:
    """Requests and size of the whole job in one layout.

    Args:
        layout: name.
        chosen: whether the job uses it; the others are computed from the images of this one.
        requests: by kind.
        output_bytes, ledger_bytes: size of OUTPUT and LEDGER.
        requests_cost, month_cost: cost of all requests, and of storage for a month; None without prices.
    """

    layout: str
    chosen: bool
    requests: Requests
    output_bytes: int
    ledger_bytes: int
    requests_cost: float | None
    month_cost: float | None


@dataclass(frozen=True, slots=True)
class ServiceEstimate:
    """Requests of the whole job to a detector that is a service.

    Args:
        name: of the detector.
        requests: one for each image, more for crowds; repeated ones come on top.
        price_1000: of 1,000 requests, in US dollars unless the job says otherwise.
        cost: of all.
    """

    name: str
    requests: int
    price_1000: float
    cost: float


@dataclass(frozen=True, slots=True)
class Width:
    """The job on a number of workers.

    Args:
        workers: number of workers.
        hours: wall time.
        worker_hours, gpu_hours: of all workers together.
        cost: of workers, GPUs, requests and services, without storage; None without any of their prices.
    """

    workers: int
    hours: float
    worker_hours: float
    gpu_hours: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate of the whole job.

    Args:
        rows: of the job.
        sample_rows: rows that were measured.
        images_per_s: of one worker on its reserved CPUs.
        statuses: expected shares.
        regions_per_image: mean and its 95 % interval; None if no image could be searched.
        bytes_in: source bytes.
        layouts: one entry for each layout.
        widths: one entry for each number of workers.
        services: that images are sent to.
        identify_worker_hours: of these, those of the pass that compares faces before the run; None without one.
    """

    rows: int
    sample_rows: int
    images_per_s: float
    statuses: tuple[StatusShare, ...]
    regions_per_image: tuple[float, float, float] | None
    bytes_in: int
    layouts: tuple[LayoutEstimate, ...]
    widths: tuple[Width, ...]
    services: tuple[ServiceEstimate, ...] = ()
    identify_worker_hours: float | None = None


def estimate_job(found: Measurement, config: JobConfig, workers: Sequence[int], prices: Prices) -> Estimate:
    """Scale a sample to the whole job.

    The hours assume independent workers: storage that keeps up with all of them, and machines that they do not share.

    Args:
        found: the sample.
        config: the job.
        workers: numbers of workers to estimate for, each at least 1.
        prices: prices of workers, requests and storage.
    """
    layouts = tuple(_layout_estimate(name, found, config, prices) for name in LAYOUTS)
    [requests_cost] = [layout.requests_cost for layout in layouts if layout.chosen]
    rate = found.images_per_s_on(config.engine.num_cpus)
    services = tuple(_service(name, number, found, config) for name, number in found.service_requests.items())
    before = None if found.faces is None else found.faces.worker_hours(found.total_rows, config.engine.num_cpus)
    worker_hours = found.total_rows / rate / 3600 + (before or 0.0)
    gpu_hours = worker_hours * config.engine.num_gpus
    cost = _sum(
        [
            _times(worker_hours, prices.worker_hour),
            _times(gpu_hours, prices.gpu_hour) if config.engine.num_gpus else None,
            requests_cost,
            *(service.cost for service in services),
        ]
    )
    return Estimate(
        found.total_rows,
        found.rows,
        rate,
        tuple(_status_share(found, status) for status in STATUSES),
        mean_interval(found.stats.regions_per_image),
        _scaled(found.stats.bytes_in, found),
        layouts,
        tuple(Width(count, worker_hours / count, worker_hours, gpu_hours, cost) for count in workers),
        services,
        before,
    )


def _service(name: str, number: int, found: Measurement, config: JobConfig) -> ServiceEstimate:
    """Scale the sample's requests to a service. Its price is that of its first entry in the job."""
    residual: Any = config.checks.get("residual", {}).get("detectors") or ()
    listed = [(own["name"], own.get("options", {})) for own in residual if isinstance(own, Mapping) and "name" in own]
    entries = [*((own.name, own.options) for own in config.detect.detectors), *listed]
    given = [options for own, options in entries if own == name]
    options = plugins.check_options("detectors", name, given[0] if given else {})
    price, requests = float(getattr(options, "price_per_1000", 0.0)), _scaled(number, found)
    return ServiceEstimate(name, requests, price, requests / 1000 * price)


def _layout_estimate(layout: Layout, found: Measurement, config: JobConfig, prices: Prices) -> LayoutEstimate:
    requests = scale_requests(found, config, layout)
    output = _scaled(stored_bytes(found, config, layout) + found.provenance_bytes, found)
    ledger = _scaled(found.audit_bytes + found.rows_bytes + found.sealed_bytes, found)
    requests_cost = _sum(
        [_times(requests.put_class / 1000, prices.put_1000), _times(requests.get_class / 1000, prices.get_1000)]
    )
    month_cost = _times((output + ledger) / GB, prices.gb_month)
    return LayoutEstimate(layout, layout == config.write.layout, requests, output, ledger, requests_cost, month_cost)


def _status_share(found: Measurement, status: str) -> StatusShare:
    rows = found.stats.statuses.get(status, 0)
    share = rows / found.rows
    low, high = (share, share) if found.is_everything else wilson(rows, found.rows) or (share, share)
    return StatusShare(status, rows, share, low, high)


def _scaled(amount: int, found: Measurement) -> int:
    return round(amount * found.total_rows / found.rows)


def _times(amount: float, price: float | None) -> float | None:
    return None if price is None else amount * price


def _sum(parts: Sequence[float | None]) -> float | None:
    given = [part for part in parts if part is not None]
    return sum(given) if given else None
