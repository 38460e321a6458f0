"""The options of commands that run a job: the keys that have a flag of their own, and the limits of one start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anon_batch.cli.options import overrides
from anon_batch.config import JobConfig, load_job
from anon_batch.errors import ConfigError
from anon_batch.units import parse_duration

Manifest = Annotated[str | None, typer.Option(help="Key `manifest`.")]
OutputKey = Annotated[str | None, typer.Option(help="Key `output`.")]
Method = Annotated[str | None, typer.Option(help="Key `anonymize.face.method`.")]
Detector = Annotated[list[str] | None, typer.Option(help="Key `detect.detectors`; repeat for an ensemble.")]
Limit = Annotated[
    int | None, typer.Option(help="Key `sample.limit`: a random subset of N rows, as a release of its own.")
]


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


Deadline = Annotated[
    float | None,
    typer.Option(
        parser=_duration,
        metavar="TIME",
        help="Stop cleanly after this time, e.g. 12h or 1d6h: no shard is started any more, and the exit code is 130.",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0.0, metavar="MONEY", help="Stop cleanly once the workers have cost this much; needs their prices."
    ),
]
PriceWorkerHour = Annotated[
    float | None, typer.Option(min=0.0, metavar="MONEY", help="Price of one worker for an hour, without its GPU.")
]
PriceGpuHour = Annotated[float | None, typer.Option(min=0.0, metavar="MONEY", help="Price of one GPU for an hour.")]


def job_of(command: str, job: Path | None, settings: list[str], flags: dict[str, Any]) -> JobConfig:
    """Return the job that a file, flags and `--set` describe.

    Args:
        command: its name, for the message.
        job: the file; None for a job by flags alone.
        settings: of `--set`.
        flags: dotted key -> value; None: not given.

    Raises:
        ConfigError: neither a file nor the flags that stand for it, or as `load_job`.
    """
    given = overrides(settings, flags)
    if job is None and (missing := [f"--{key}" for key in ("manifest", "output") if key not in given]):
        raise ConfigError(
            f"{command} needs {' and '.join(missing)}, or a job file, e.g. `anon-batch {command} --manifest photos.parquet "
            "--output release`"
        )
    return load_job(job, given)


def job_flags(
    manifest: str | None, output: str | None, method: str | None, detector: list[str] | None, limit: int | None
) -> dict[str, Any]:
    """Return the keys that have a flag of their own, with what was given."""
    return {
        "manifest": manifest,
        "output": output,
        "anonymize.face.method": method,
        "detect.detectors": detector or None,
        "sample.limit": limit,
    }
