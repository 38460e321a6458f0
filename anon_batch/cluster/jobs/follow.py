"""Follow a submitted job by its status, whatever happens to the connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from anon_batch import __version__
from anon_batch.cluster.jobs.server import JobServer, ServerAwayError, SubmittedJob, UnknownJobError
from anon_batch.errors import ClusterError, ExitCode
from anon_batch.units import format_duration

POLL_S = 2.0
GIVE_UP_S = 300.0
_UNKNOWN_KEY = "job.yaml: unknown key"  # as the driver says it
_NO_PROGRAM = (126, 127)  # of a shell that cannot start the command


class Watcher(Protocol):
    """Hears of a job while it is followed; `tick` returns whether storage shows that the run has finished."""

    def state(self, job: SubmittedJob) -> None: ...
    def tick(self) -> bool: ...
    def note(self, text: str) -> None: ...


def follow(
    server: JobServer,
    submission_id: str,
    watcher: Watcher,
    *,
    give_up_s: float = GIVE_UP_S,
    poll_s: float = POLL_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> SubmittedJob:
    """Return the job when it has ended.

    Args:
        server: of the cluster.
        submission_id: of the job.
        watcher: hears of its state when it changes, and of every poll.
        give_up_s: how long the server may be away.
        poll_s: pause between two polls.
        clock: returns seconds.
        sleep: pauses.

    Raises:
        ClusterError: the server stays away, or is away and the run has finished; or it does not know the job any more, e.g.
            because the head was started again.
        ConfigError: the server refuses the token.
    """
    away_since: float | None = None
    while True:
        try:
            job = server.job(submission_id)
        except ServerAwayError as exc:
            if away_since is None:
                away_since = clock()
                watcher.note(f"{exc}; trying again for {format_duration(give_up_s)}")
            elif clock() - away_since >= give_up_s:
                raise ClusterError(f"{exc}, for {format_duration(give_up_s)} now") from None
        except UnknownJobError:
            raise ClusterError(
                f"the cluster at {server.address} does not know {submission_id} any more, e.g. because its head was started again"
            ) from None
        else:
            if away_since is not None:
                away_since = None
                watcher.note(f"{server.address} answers again")
            watcher.state(job)
            if not job.is_live:
                return job
        if (
            watcher.tick() and away_since is not None
        ):  # because a cluster may be taken down as soon as its job has ended
            raise ClusterError(f"no Ray job server answers at {server.address} any more, and the run has finished")
        sleep(poll_s)


def exit_code_of(job: SubmittedJob) -> tuple[ExitCode, str]:
    """Return what the command line returns for a job that has ended, and why if the driver itself has not said it.

    A finished run returns 0 here whatever its gates say, because its driver runs with `--finished-exit-zero`.
    """
    code = job.exit_code
    if job.status == "STOPPED":
        return ExitCode.STOPPED, "the job was stopped; committed shards stay"
    if job.status == "SUCCEEDED":
        return ExitCode.FINISHED, ""
    if code is None:
        return ExitCode.TRY_AGAIN, f"the cluster could not run the driver: {_first_line(job.message)}"
    if code in _NO_PROGRAM:
        return ExitCode.USAGE, (
            f"the head node cannot start `anon-batch` (exit code {code}): install it on every node, or use an image that has it, "
            "so that it is on the PATH of Ray"
        )
    if code == ExitCode.USAGE and _UNKNOWN_KEY in job.message:
        return ExitCode.USAGE, (
            "the driver does not know a key of the job file, which this machine wrote with all defaults: install the same "
            f"version of anon-batch on the cluster as here ({__version__})"
        )
    if code < 0 or code > ExitCode.STOPPED:
        signal = -code if code < 0 else code - 128
        return ExitCode.TRY_AGAIN, f"signal {signal} ended the driver, e.g. because the head ran out of memory"
    known = next((own for own in ExitCode if own == code), None)
    return (known, "") if known is not None else (ExitCode.UNEXPECTED, f"the driver ended with exit code {code}")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0][:300]
