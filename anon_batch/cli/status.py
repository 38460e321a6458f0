"""`anon-batch status`."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from anon_batch.cli.console import UNFINISHED, out, print_json, statuses_line
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.options import Json, Output, StorageJob, storage_of
from anon_batch.config import load_job
from anon_batch.errors import StorageError
from anon_batch.units import format_counted, format_duration

if TYPE_CHECKING:
    from anon_batch.formats.gates_json import Gates
    from anon_batch.formats.release import Release
    from anon_batch.release.status import Status


def status(output: Output, job: StorageJob = None, json: Json = False) -> None:
    """Show the progress of a run, from storage alone; works during the run and after it."""
    from anon_batch.formats.release import Release
    from anon_batch.release.status import read_status

    release = Release(storage_of(job), output)
    state = read_status(release)
    place = load_job(job, {}).ledger if job is not None else None
    log = last_log(release, place or f"{release.uri}-ledger")
    gates = release.read_gates() if state.state == "finished" else None
    if json:
        print_json(status_for_machines(release, state, gates, log))
    else:
        show_status(release, state, gates, log)


def status_for_machines(release: Release, state: Status, gates: Gates | None, log: str | None) -> dict[str, Any]:
    """Return the state of a run as JSON values."""
    return {**dataclasses.asdict(state), "version": release.version, "log": log, **gates_for_machines(gates)}


def show_status(release: Release, state: Status, gates: Gates | None, log: str | None) -> None:
    """Print the state of a run."""
    rate = f"{state.images_per_s:.1f} images/s" if state.images_per_s else "rate unknown"
    left = f", {format_duration(state.left_s)} left" if state.state != "finished" and state.left_s is not None else ""
    shown = "finished" if state.state == "finished" else UNFINISHED
    out.print(f"{state.name}  run {state.run_id}  {shown}", markup=False)
    out.print(
        f"{state.done:,} of {state.total:,} rows in {format_counted(state.shards_count, 'shard')}, {rate}{left}",
        markup=False,
    )
    out.print(statuses_line(state.statuses), markup=False)
    if release.versions:
        last, erased = release.versions[-1], sum(len(own.tombstones) for own in release.versions)
        gone = f"; {format_counted(erased, 'row')} erased in all" if erased else ""
        out.print(f"version {last.number}, by `{last.kind}` on {last.created_at}{gone}", markup=False)
    out.print(f"started {state.created_at}, last commit {state.last_commit_at or 'none yet'}", markup=False)
    show_gates(gates)
    if log is not None:
        out.print(f"log      {log}", markup=False)


def last_log(release: Release, ledger: str) -> str | None:
    """Return the address of the log of the driver's last start; None where the ledger is not for this reader, or gone."""
    from anon_batch.formats.ledger import Ledger

    with contextlib.suppress(StorageError):
        return Ledger(release.storage, ledger).last_driver_log()
    return None
