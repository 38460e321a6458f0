"""`anon-batch estimate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.options import JobFile, Json, Set, overrides
from anon_batch.cli.tables import add, show, show_time_shares, table
from anon_batch.config import JobConfig, load_job
from anon_batch.errors import ConfigError
from anon_batch.units import format_bytes, format_count, format_share

if TYPE_CHECKING:
    from anon_batch.estimate.cost import Estimate, LayoutEstimate
    from anon_batch.estimate.measure import Measurement

_WORKERS = (1, 8, 32, 128)


def estimate(
    job: JobFile = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Number of rows to process, drawn with `sample.seed`.")
    ] = 200,
    workers: Annotated[
        list[int] | None,
        typer.Option("--workers", min=1, help="Number of workers to estimate for; repeat for several."),
    ] = None,
    price_worker_hour: Annotated[
        float | None, typer.Option(min=0.0, help="Price of one worker for an hour, without its GPU.")
    ] = None,
    price_gpu_hour: Annotated[float | None, typer.Option(min=0.0, help="Price of one GPU for an hour.")] = None,
    price_put_1000: Annotated[
        float | None, typer.Option("--price-put-1000", min=0.0, help="Price of 1,000 PUT or LIST requests.")
    ] = None,
    price_get_1000: Annotated[
        float | None, typer.Option("--price-get-1000", min=0.0, help="Price of 1,000 GET or HEAD requests.")
    ] = None,
    price_gb_month: Annotated[
        float | None, typer.Option(min=0.0, help="Price of storing 2^30 bytes for a month.")
    ] = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Dry run: process a sample on this machine and estimate hours, requests and cost of the whole job.

    Writes nothing to OUTPUT or the ledger.
    """
    config = load_job(job, overrides(settings))
    from anon_batch.estimate.cost import Prices, estimate_job
    from anon_batch.estimate.measure import measure
    from anon_batch.process import limit_threads

    _check_device(config)
    limit_threads(max(1, int(config.engine.num_cpus)))
    found = measure(config, sample, lambda text: None if json else err.print(text, markup=False))
    prices = Prices(price_worker_hour, price_gpu_hour, price_put_1000, price_get_1000, price_gb_month)
    widths = sorted(
        {*(workers or _WORKERS), *([config.engine.workers] if config.engine.workers and not workers else [])}
    )
    whole = estimate_job(found, config, widths, prices)
    if json:
        print_json(_for_machines(found, whole, prices))
    else:
        _print(found, whole, config)


def _check_device(config: JobConfig) -> None:
    """Fail early where the job needs a GPU and this machine has none."""
    if config.engine.num_gpus == 0:
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            f"engine.num_gpus is {config.engine.num_gpus:g}, and this machine has no CUDA device; run the estimate on a "
            "machine like the workers, or estimate for CPUs with --set engine.num_gpus=0"
        )


def _for_machines(found: Measurement, whole: Estimate, prices: Any) -> dict[str, Any]:
    from anon_batch.stats import summarise

    return {
        **dataclasses.asdict(whole),
        "prices": dataclasses.asdict(prices),
        "sample": {
            "rows": found.rows,
            "seconds": found.seconds,
            "cpu_s": found.cpu_s,
            "start_s": found.start_s,
            "cpus": found.cpus,
            "models": list(found.models),
            "bytes": {
                "outputs": found.output_bytes,
                "provenance": found.provenance_bytes,
                "audit": found.audit_bytes,
                "rows": found.rows_bytes,
                "sealed": found.sealed_bytes,
            },
            "summary": summarise(found.stats),
            "time": dataclasses.asdict(found.time),
        },
    }


def _print(found: Measurement, whole: Estimate, config: JobConfig) -> None:
    out.print(
        f"{config.name}: {whole.rows:,} rows, measured on {whole.sample_rows:,} of them "
        f"(seed {config.sample.seed})\n"
        f"one worker with {config.engine.num_cpus:g} CPUs: {whole.images_per_s:.1f} images/s "
        f"({found.images_per_s:.1f} images/s on this machine; {1e3 * found.cpu_s / found.rows:.1f} ms of CPU time per image; "
        f"{found.start_s:.1f} s to load the models)",
        markup=False,
    )
    if whole.identify_worker_hours is not None:
        out.print(
            f"`anon-batch identify` before it: {whole.identify_worker_hours:.2f} worker-hours, counted in the table of hours",
            markup=False,
        )
    _print_statuses(whole)
    show_time_shares(found.time)
    _print_layouts(whole)
    for service in whole.services:
        out.print(
            f"{service.name}: {service.requests:,} requests to the service, {service.cost:,.2f} at {service.price_1000:g} for "
            "1,000 (its option `price_per_1000`); repeated ones come on top",
            markup=False,
        )
    _print_widths(whole)
    for line in _caveats(found, config):
        err.print(line, markup=False)


def _print_statuses(whole: Estimate) -> None:
    statuses = table("Expected rows, with 95 % intervals", "status", "in the sample", "share", "from", "to", "rows")
    for s in whole.statuses:
        cells = (
            format_count(s.rows),
            format_share(s.share),
            format_share(s.low),
            format_share(s.high),
            format_count(round(s.share * whole.rows)),
        )
        add(statuses, s.status, *cells)
    show(statuses)
    if whole.regions_per_image is not None:
        mean, low, high = whole.regions_per_image
        out.print(f"{mean:.2f} detections per image (95 % interval {low:.2f} to {high:.2f})", markup=False)


def _print_layouts(whole: Estimate) -> None:
    names = [f"{layout.layout}{' *' if layout.chosen else ''}" for layout in whole.layouts]
    layouts = table(f"Requests and bytes if everything lies in S3 ({format_bytes(whole.bytes_in)} in)", "", *names)
    lines: dict[str, Callable[[LayoutEstimate], str]] = {
        "PUT": lambda p: format_count(p.requests.put),
        "LIST": lambda p: format_count(p.requests.list),
        "GET": lambda p: format_count(p.requests.get),
        "HEAD": lambda p: format_count(p.requests.head),
        "cost of the requests": lambda p: _money(p.requests_cost),
        "shards": lambda p: format_count(p.requests.shards),
        "objects in OUTPUT": lambda p: format_count(p.requests.output_objects),
        "objects in the ledger": lambda p: format_count(p.requests.ledger_objects),
        "bytes in OUTPUT": lambda p: format_bytes(p.output_bytes),
        "bytes in the ledger": lambda p: format_bytes(p.ledger_bytes),
        "cost of storage for a month": lambda p: _money(p.month_cost),
    }
    for text, cell in lines.items():
        add(layouts, text, *(cell(layout) for layout in whole.layouts))
    show(layouts)


def _print_widths(whole: Estimate) -> None:
    widths = table(
        f"Hours and cost (workers, GPUs, requests{', services' if whole.services else ''})",
        "workers",
        "hours",
        "worker-hours",
        "GPU-hours",
        "cost",
    )
    for width in whole.widths:
        hours = (f"{value:,.2f}" for value in (width.hours, width.worker_hours, width.gpu_hours))
        add(widths, format_count(width.workers), *hours, _money(width.cost))
    show(widths)


def _caveats(found: Measurement, config: JobConfig) -> list[str]:
    lines = [
        "* layout of this job.",
        "The sample was written to a local folder. With a bucket, every write waits for a response: a worker processes at most",
        f"engine.io_threads ({config.engine.io_threads}) images in the time of one read and one write.",
    ]
    if found.service_requests:
        lines.append("The images of the sample were sent to the service, and are billed.")
    if found.cpus < config.engine.num_cpus:
        lines.append(f"This machine has {found.cpus} CPUs, fewer than engine.num_cpus: workers will be faster.")
    if found.rows < 100 and not found.is_everything:
        lines.append(f"{found.rows} rows are a small sample: use a larger --sample for a reliable estimate.")
    return lines


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
