"""`anon-batch plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import count, err, out, print_json
from anon_batch.cli.run import JobFile, Json, Set
from anon_batch.cli.tables import add, percent, show, show_time_shares, table
from anon_batch.config import JobConfig, load_job, parse_override
from anon_batch.errors import ConfigError

if TYPE_CHECKING:
    from anon_batch.estimate.cost import Estimate, LayoutPlan
    from anon_batch.estimate.measure import Measurement

_WORKERS = (1, 8, 32, 128)


def plan(
    job: JobFile = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Rows that are really processed, chosen by `sample.seed`.")
    ] = 200,
    workers: Annotated[
        list[int] | None,
        typer.Option("--workers", min=1, help="Number of workers to compute the job for; repeat for several."),
    ] = None,
    price_worker_hour: Annotated[
        float | None, typer.Option(min=0.0, help="Of one worker's share of a machine, GPU not included.")
    ] = None,
    price_gpu_hour: Annotated[float | None, typer.Option(min=0.0, help="Of one GPU.")] = None,
    price_put_1000: Annotated[
        float | None, typer.Option("--price-put-1000", min=0.0, help="Of 1,000 PUT or LIST requests.")
    ] = None,
    price_get_1000: Annotated[
        float | None, typer.Option("--price-get-1000", min=0.0, help="Of 1,000 GET or HEAD requests.")
    ] = None,
    price_gb_month: Annotated[float | None, typer.Option(min=0.0, help="Of storing 2^30 bytes for a month.")] = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Dry run with cost: processes a sample here, says what the whole job will take. Writes nothing to OUTPUT or the ledger."""
    config = load_job(job, dict(parse_override(text) for text in settings))
    from anon_batch.estimate.cost import Prices, estimate
    from anon_batch.estimate.measure import measure
    from anon_batch.process import limit_threads

    _check_device(config)
    limit_threads(max(1, int(config.engine.num_cpus)))
    found = measure(config, sample, lambda text: None if json else err.print(text, markup=False))
    prices = Prices(price_worker_hour, price_gpu_hour, price_put_1000, price_get_1000, price_gb_month)
    widths = sorted(
        {*(workers or _WORKERS), *([config.engine.workers] if config.engine.workers and not workers else [])}
    )
    whole = estimate(found, config, widths, prices)
    if json:
        print_json(_for_machines(found, whole, prices))
    else:
        _print(found, whole, config)


def _check_device(config: JobConfig) -> None:
    """Better said here than by the network's loader: it knows nothing of plans."""
    if config.engine.num_gpus == 0:
        return
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            f"engine.num_gpus is {config.engine.num_gpus:g}, and this machine has no CUDA device: plan on a machine like the "
            "workers', or measure the CPU with --set engine.num_gpus=0"
        )


def _for_machines(found: Measurement, whole: Estimate, prices: Any) -> dict[str, Any]:
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
                "pictures": found.picture_bytes,
                "provenance": found.provenance_bytes,
                "audit": found.audit_bytes,
                "rows": found.rows_bytes,
            },
            "summary": found.stats.summary(),
            "time": dataclasses.asdict(found.time),
        },
    }


def _print(found: Measurement, whole: Estimate, config: JobConfig) -> None:
    out.print(
        f"{config.name}: {count(whole.rows)} rows, measured on {count(whole.sample_rows)} of them "
        f"(seed {config.sample.seed})\n"
        f"one worker on the {config.engine.num_cpus:g} CPUs that it reserves: {whole.images_per_s:.1f} images/s "
        f"(here {found.images_per_s:.1f} by the clock; {1e3 * found.cpu_s / found.rows:.1f} ms of CPU an image; "
        f"{found.start_s:.1f} s to load the models)",
        markup=False,
    )
    _print_statuses(whole)
    show_time_shares(found.time)
    _print_layouts(whole)
    _print_widths(whole)
    for line in _caveats(found, config):
        err.print(line, markup=False)


def _print_statuses(whole: Estimate) -> None:
    statuses = table("Rows to expect, with 95 % intervals", "status", "in the sample", "share", "from", "to", "rows")
    for s in whole.statuses:
        cells = (count(s.rows), percent(s.share), percent(s.low), percent(s.high), count(round(s.share * whole.rows)))
        add(statuses, s.status, *cells)
    show(statuses)
    if whole.faces_per_image is not None:
        mean, low, high = whole.faces_per_image
        out.print(f"{mean:.2f} faces found per image (95 % interval {low:.2f} to {high:.2f})", markup=False)


def _print_layouts(whole: Estimate) -> None:
    names = [f"{plan_.layout}{' *' if plan_.chosen else ''}" for plan_ in whole.layouts]
    layouts = table(f"Requests and bytes, were all of it in S3 ({_size(whole.bytes_in)} in)", "", *names)
    lines: dict[str, Callable[[LayoutPlan], str]] = {
        "PUT": lambda p: count(p.requests.put),
        "LIST": lambda p: count(p.requests.list),
        "GET": lambda p: count(p.requests.get),
        "HEAD": lambda p: count(p.requests.head),
        "cost of the requests": lambda p: _money(p.requests_cost),
        "shards": lambda p: count(p.requests.shards),
        "objects in OUTPUT": lambda p: count(p.requests.output_objects),
        "objects in the ledger": lambda p: count(p.requests.ledger_objects),
        "bytes in OUTPUT": lambda p: _size(p.output_bytes),
        "bytes in the ledger": lambda p: _size(p.ledger_bytes),
        "cost of a month": lambda p: _money(p.month_cost),
    }
    for text, cell in lines.items():
        add(layouts, text, *(cell(plan_) for plan_ in whole.layouts))
    show(layouts)


def _print_widths(whole: Estimate) -> None:
    widths = table("Hours and cost (workers, GPUs, requests)", "workers", "hours", "worker-hours", "GPU-hours", "cost")
    for width in whole.widths:
        hours = (f"{value:,.2f}" for value in (width.hours, width.worker_hours, width.gpu_hours))
        add(widths, count(width.workers), *hours, _money(width.cost))
    show(widths)


def _caveats(found: Measurement, config: JobConfig) -> list[str]:
    lines = [
        "* of this job.",
        "The sample's outputs went to a local folder. To a bucket each put waits for an answer: a worker makes at most",
        f"engine.io_threads ({config.engine.io_threads}) images in the time of one read and put together.",
    ]
    if found.cpus < config.engine.num_cpus:
        asked = config.engine.num_cpus
        lines.append(f"This machine has {found.cpus} CPUs, engine.num_cpus asks for {asked:g}: workers will be faster.")
    if found.rows < 100 and not found.is_everything:
        lines.append(f"{found.rows} rows are few: take a larger --sample before you rely on it.")
    return lines


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
