"""What `anon-batch submit` does with a job on a cluster, and what its user reads."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.status import last_log, show_status, status_for_machines
from anon_batch.cli.submit_progress import SubmitProgress
from anon_batch.cluster.jobs.follow import exit_code_of, follow
from anon_batch.cluster.jobs.identity import JobIdentity
from anon_batch.cluster.jobs.log_stream import LogStream
from anon_batch.cluster.jobs.server import JobServer, SubmittedJob
from anon_batch.cluster.jobs.stop import stop_job
from anon_batch.cluster.jobs.submit import JOB_FILE, Submission, find, submit
from anon_batch.config import JobConfig
from anon_batch.errors import AnonBatchError, ClusterError, ConfigError, ExitCode, IntegrityError
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.redaction import redact
from anon_batch.release.status import Status, StatusReader
from anon_batch.storage import Storage

_MESSAGE_CHARS = 2000
_QUICK = {"retries": 2, "retry_for_s": 10.0}  # because a command that waits for a store looks dead


class Output:
    """The release that a job writes, as storage shows it.

    Args:
        config: the job.
    """

    def __init__(self, config: JobConfig) -> None:
        self.release = Release(Storage(config.storage.model_copy(update=_QUICK)), config.output_uri)
        self.ledger_uri = config.ledger_uri
        self.reader = StatusReader(self.release)
        self.status: Status | None = None
        self.gates: Gates | None = None
        self.log: str | None = None

    def read(self) -> None:
        """Read status and gates; both stay None while the driver has written nothing."""
        if self.release.exists():
            self.status = self.reader.read()
            self.gates = self.release.read_gates() if self.status.state == "finished" else None
            self.log = last_log(self.release, self.ledger_uri)

    def print(self) -> None:
        """Print what was read."""
        if self.status is not None:
            show_status(self.release, self.status, self.gates, self.log)
            out.print(f"release  {self.release.uri}\nledger   {self.ledger_uri}  (private)", markup=False)

    def for_machines(self) -> dict[str, Any]:
        """Return what was read as JSON values."""
        shown = None if self.status is None else status_for_machines(self.release, self.status, self.gates, self.log)
        return {"output": self.release.uri, "ledger": self.ledger_uri, "progress": shown}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is.

    Args:
        server: of its cluster.
        identity: of the job; None where only an id was given.
        output: what it writes; None likewise.
    """

    server: JobServer
    identity: JobIdentity | None = None
    output: Output | None = None

    def job(self, submission_id: str | None) -> SubmittedJob:
        """Return the job with an id, else the one that writes OUTPUT.

        Raises:
            ConfigError: the cluster knows none.
        """
        if submission_id is not None:
            return self.server.job(submission_id)
        found = None if self.identity is None else find(self.server, self.identity)
        if found is None:
            raise ConfigError(
                f"{self.server.address} knows no job for this OUTPUT; if it ran on a cluster that is gone, `anon-batch status "
                "OUTPUT` says how far it came"
            )
        return found


def start(
    server: JobServer, config: JobConfig, identity: JobIdentity, options: dict[str, str], *, quiet: bool
) -> Submission:
    """Submit the job, or attach to it; say which."""
    given = [text for pair in options.items() for text in pair]
    # `exec`, because Ray stops the shell first, and a driver without its parent may be ended by Ray's library before it says how.
    command = shlex.join(["exec", "anon-batch", "run", JOB_FILE, "--address", "auto", "--finished-exit-zero", *given])
    done = submit(server, config, identity, command)
    if not quiet:
        verb = "runs already, attached to it" if done.attached else "submitted"
        err.print(f"{done.submission_id}  {verb}: {server.address}", markup=False)
    if done.other_settings:
        err.print(
            f"{done.submission_id}  keeps what it was submitted with: other workers, limits, gates or models of this command "
            "have no effect",
            markup=False,
        )
    return done


def detached(server: JobServer, output: Output, submission: Submission, how: str, *, json: bool) -> None:
    """Say how to return to a job that was just submitted."""
    if json:
        print_json(_for_machines(server, output, server.job(submission.submission_id), attached=submission.attached))
    else:
        out.print(submission.submission_id, markup=False)
        err.print(how, markup=False)


def follow_to_end(server: JobServer, output: Output, submission: Submission, back: str, *, json: bool) -> int:
    """Follow a job; return the exit code of its driver, and 10 for a finished run that exceeds a gate.

    Raises:
        AnonBatchError: the cluster was lost, or what the driver made cannot be read.
    """
    with (
        LogStream(server, submission.submission_id) as log,
        SubmitProgress(output.reader, log, quiet=json) as progress,
    ):
        try:
            job = follow(server, submission.submission_id, progress)
            progress.end()
        except AnonBatchError as exc:
            if not (isinstance(exc, ClusterError) and progress.has_finished):
                err.print(f"{submission.submission_id}  may run on. {back}", markup=False)
                raise
            progress.note(f"{submission.submission_id}  {exc}")
            job = SubmittedJob(submission.submission_id, "SUCCEEDED", str(exc))
    code, why = exit_code_of(job)
    try:
        output.read()
        code = _with_gates(code, output)
    except AnonBatchError as exc:
        if code == ExitCode.FINISHED:
            err.print(
                f"{submission.submission_id}  ended with 0, but its verdict cannot be read from here:", markup=False
            )
            raise
        _say_unreadable(exc)
    if json:
        print_json(_for_machines(server, output, job, code, attached=submission.attached))
    else:
        output.print()
        err.print(f"{job.submission_id}  ended with {int(code)}: {why or code.meaning}", markup=False)
    return int(code)


def _with_gates(code: ExitCode, output: Output) -> ExitCode:
    """Return 10 where the driver returned 0 and a gate is exceeded, because it returns 0 then too.

    Raises:
        IntegrityError: the driver finished, and storage does not show it.
    """
    if code != ExitCode.FINISHED:
        return code
    if output.gates is None:
        raise IntegrityError(
            f"no finished release at {output.release.uri}; do this machine and the cluster see the same place under this address?"
        )
    return ExitCode.FINISHED if output.gates.passed else ExitCode.GATE_EXCEEDED


def show(place: Place, submission_id: str | None, *, json: bool) -> None:
    """Say how a job is doing."""
    _print_job(place, place.job(submission_id), json=json)


def stop(place: Place, submission_id: str | None, *, json: bool) -> None:
    """Stop a job and say what is done."""
    job = place.job(submission_id)
    _print_job(place, stop_job(place.server, job.submission_id) if job.is_live else job, json=json)


def print_log(place: Place, submission_id: str | None) -> None:
    """Print the log of a job until it ends."""
    job = place.job(submission_id)
    with LogStream(place.server, job.submission_id) as log:
        follow(place.server, job.submission_id, _LogPrinter(log))
        for line in log.last_lines():
            out.print(line, markup=False)


@dataclass(frozen=True, slots=True)
class _LogPrinter:
    log: LogStream

    def state(self, job: SubmittedJob) -> None:
        """Nothing, because the log alone is wanted."""

    def tick(self) -> bool:
        for line in self.log.lines():
            out.print(line, markup=False)
        return False

    def note(self, text: str) -> None:
        err.print(text, markup=False)


def _say_unreadable(exc: AnonBatchError) -> None:
    err.print(f"what it has made cannot be read from here: {redact(str(exc))}", markup=False)


def _print_job(place: Place, job: SubmittedJob, *, json: bool) -> None:
    code = None if job.is_live else exit_code_of(job)[0]
    if place.output is not None:
        try:
            place.output.read()
            code = None if code is None else _with_gates(code, place.output)
        except AnonBatchError as exc:  # the state of the job is known all the same
            _say_unreadable(exc)
    if json:
        print_json(_for_machines(place.server, place.output, job, code))
        return
    since = "" if job.started_at is None else f" since {job.started_at.isoformat(timespec='seconds')}"
    said = f": {_last_line(job)}" if job.status in ("PENDING", "FAILED") else ""
    out.print(redact(f"{job.submission_id}  {job.status}{since if job.is_live else ''}{said}"), markup=False)
    if code is not None:
        out.print(f"exit code {int(code)}: {exit_code_of(job)[1] or code.meaning}", markup=False)
    if place.output is not None:
        place.output.print()


def _last_line(job: SubmittedJob) -> str:
    """Return the last line of what the server says, which for a driver that failed is the last of its log."""
    return (job.message.strip().splitlines() or [""])[-1][:_MESSAGE_CHARS]


def _for_machines(
    server: JobServer,
    output: Output | None,
    job: SubmittedJob,
    code: ExitCode | None = None,
    *,
    attached: bool | None = None,
) -> dict[str, Any]:
    return {
        "submission_id": job.submission_id,
        "address": server.address,
        "attached": attached,
        "status": job.status,
        "message": redact(job.message)[-_MESSAGE_CHARS:],
        "driver_exit_code": job.exit_code,
        "exit_code": None if code is None else int(code),
        "started_at": None if job.started_at is None else job.started_at.isoformat(timespec="seconds"),
        "ended_at": None if job.ended_at is None else job.ended_at.isoformat(timespec="seconds"),
        **({} if output is None else output.for_machines()),
    }
