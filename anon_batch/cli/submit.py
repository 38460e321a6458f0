"""`anon-batch submit`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err
from anon_batch.cli.job_options import (
    Deadline,
    Detector,
    Limit,
    Manifest,
    MaxCost,
    Method,
    OutputKey,
    PriceGpuHour,
    PriceWorkerHour,
    job_flags,
    job_of,
)
from anon_batch.cli.options import Json, Set
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, StorageError, UnknownNameError
from anon_batch.process import stoppable
from anon_batch.redaction import redact

if TYPE_CHECKING:
    from anon_batch.cluster.jobs.server import JobServer


def submit(
    job: Annotated[
        Path | None,
        typer.Argument(
            help="Job file (YAML); flags and --set override it. With --status, --logs and --stop also the id of a submission.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="The cluster's job server, e.g. http://HEAD:8265; default: the variable RAY_API_SERVER_ADDRESS."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the cluster has the job.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how the job is doing.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Print what the driver prints, until the job ends.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the job; committed shards stay, and submitting it again resumes it.")
    ] = False,
    shared_mount: Annotated[
        bool,
        typer.Option(
            "--shared-mount", help="Allow local paths in the job, because every node has them under the same name."
        ),
    ] = False,
    manifest: Manifest = None,
    output: OutputKey = None,
    method: Method = None,
    detector: Detector = None,
    limit: Limit = None,
    deadline: Deadline = None,
    max_cost: MaxCost = None,
    price_worker_hour: PriceWorkerHour = None,
    price_gpu_hour: PriceGpuHour = None,
    settings: Set = [],  # noqa: B006  typer reads it as the default, nobody changes it
    json: Json = False,
) -> None:
    """Run a job on a Ray cluster through its job server, and follow it to its end.

    The same command again attaches to the job while it runs, and resumes it when it has ended.

    Ctrl-C detaches, and the job runs on. The exit code is that of `run`.
    """
    _check_actions({"--detach": detach, "--status": status, "--logs": logs, "--stop": stop})
    from anon_batch.cli import submitted
    from anon_batch.cluster.jobs.identity import identity_of, is_submission_id
    from anon_batch.cluster.jobs.places import with_absolute_paths

    submission_id = str(job) if job is not None and is_submission_id(job.name) and not job.exists() else None
    if submission_id is not None and not (status or logs or stop):
        raise ConfigError(f"{job} is a submission: say --status, --logs or --stop, or name the job file to follow it")
    if submission_id is None:
        flags = {**job_flags(manifest, output, method, detector, limit), "engine.address": "auto"}
        config = with_absolute_paths(job_of("submit", job, settings, flags))
        options = _limits(config, deadline, max_cost, price_worker_hour, price_gpu_hour)
        if not (status or logs or stop):
            _check(config, shared_mount=shared_mount)
        identity, written = identity_of(config, options), submitted.Output(config)
    server = _server(address)
    place = submitted.Place(server) if submission_id else submitted.Place(server, identity, written)
    if status:
        submitted.show(place, submission_id, json=json)
    elif logs:
        submitted.print_log(place, submission_id)
    elif stop:
        submitted.stop(place, submission_id, json=json)
    else:
        submission = submitted.start(server, config, identity, options, quiet=json)
        back = f"To return to it: {_this_command()}"
        halt = f"anon-batch submit {submission.submission_id} --stop --address {server.address}"
        if detach:
            submitted.detached(server, written, submission, f"{back}\nTo stop it: {halt}", json=json)
            return
        with stoppable(f"; {submission.submission_id} runs on. {back}; to stop it: {halt}"):
            code = submitted.follow_to_end(server, written, submission, back, json=json)
        raise typer.Exit(code)


def _check_actions(given: dict[str, bool]) -> None:
    if len(asked := [name for name, is_given in given.items() if is_given]) > 1:
        raise ConfigError(f"{' and '.join(asked)} exclude each other")


def _server(address: str | None) -> JobServer:
    from anon_batch.cluster.jobs.server import JobServer, default_address

    given = address or default_address()
    if given is None:
        raise ConfigError("submit needs --address, the cluster's job server, e.g. http://HEAD:8265")
    if not given.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address {redact(given)}: submit needs the address of the head's dashboard and job server, e.g. http://HEAD:8265. "
            "`run --address` takes that of the cluster itself (auto, HOST:6379)"
        )
    return JobServer(given)


def _limits(
    config: JobConfig,
    deadline_s: float | None,
    max_cost: float | None,
    price_worker_hour: float | None,
    price_gpu_hour: float | None,
) -> dict[str, str]:
    """Check the limits of the driver and return them as options of its command line."""
    from anon_batch.pipeline.budget import Limits

    Limits.of(config.engine, deadline_s, max_cost, price_worker_hour, price_gpu_hour)
    options: dict[str, Any] = {
        "--deadline": None if deadline_s is None else f"{deadline_s:.3f}".rstrip("0").rstrip(".") + "s",
        "--max-cost": max_cost,
        "--price-worker-hour": price_worker_hour,
        "--price-gpu-hour": price_gpu_hour,
    }
    return {name: str(value) for name, value in options.items() if value is not None}


def _check(config: JobConfig, *, shared_mount: bool) -> None:
    """Find errors of the job before anything is sent."""
    from anon_batch.cluster.jobs.places import local_places
    from anon_batch.pipeline.preflight import check_names

    _check_persons(config)
    try:
        check_names(config.image)
    except UnknownNameError as exc:  # a plug-in, perhaps
        err.print(f"{exc} This machine does not have it; the nodes of the cluster need it.", markup=False)
    if (local := local_places(config)) and not shared_mount:
        named = ", ".join(f"{key} ({value})" for key, value in local.items())
        raise ConfigError(
            f"the cluster cannot see paths of this machine: {named}. Put them into a bucket; or, if every node has them under "
            "the same name, e.g. on a shared mount, say --shared-mount"
        )


def _check_persons(config: JobConfig) -> None:
    """Check that the persons of a job that compares faces were found, as far as this machine may look."""
    from anon_batch.formats.ledger import Ledger
    from anon_batch.pipeline.identify.basis import check_basis, compares_faces
    from anon_batch.pipeline.identify.columns import found_persons
    from anon_batch.storage import Storage

    check_basis(config)
    if compares_faces(config):
        with contextlib.suppress(
            StorageError
        ):  # because the ledger may be closed to who submits; the driver checks too
            found_persons(config, Ledger(Storage(config.storage), config.ledger_uri))


def _this_command() -> str:
    """Return the command that was typed, without what returns at once and without secrets."""
    return redact(shlex.join(["anon-batch", *(text for text in sys.argv[1:] if text != "--detach")]))
