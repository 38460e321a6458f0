"""Progress of a job on a cluster: its state by the job server, its rows by storage, and what its driver says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from anon_batch.cli.progress import ProgressBar, describe_rows
from anon_batch.cluster.jobs.log_stream import LogStream
from anon_batch.cluster.jobs.server import SubmittedJob
from anon_batch.errors import AnonBatchError, ConfigError
from anon_batch.release.status import Status, StatusReader

_READ_EVERY_S = 5.0
_SHARE_OF_TIME = 0.1  # that reading storage may take
# Lines of the driver that this command says itself, from storage, and those of Ray.
_PROGRESS = re.compile(r"[\d,]+/[\d,]+ images \(")
_RESULT = re.compile(r"[\d,]+ rows in |(gate|cost|release|ledger)  +")
_RAY = re.compile(r"Running entrypoint for job |\S+ \S+\s+INFO job_manager\.py")


class SubmitProgress:
    """Prints the progress of a submitted job. Use it as a context manager.

    Args:
        reader: of the release that the job writes.
        log: what its driver prints.
        quiet: print nothing.

    Attributes:
        has_finished: whether the run finished while it was followed, as storage shows. One that had finished before says
            nothing about this job, which may be another one.
    """

    def __init__(self, reader: StatusReader, log: LogStream, *, quiet: bool) -> None:
        self._reader = reader
        self._log = log
        self._bar = ProgressBar("images", quiet=quiet)
        self._state = ""
        self._read_at = 0.0
        self._can_read = True
        self._finished_before: bool | None = None
        self.has_finished = False
        self._shown: Status | None = None

    def __enter__(self) -> SubmitProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def state(self, job: SubmittedJob) -> None:
        """Say that the job waits, and for what, or that it runs."""
        words = {"PENDING": f"waits: {job.message}", "RUNNING": "runs"}
        state = words.get(job.status, "")
        if state and state != self._state:
            self.note(f"{job.submission_id}  {state}")
        self._state = state

    def tick(self) -> bool:
        """Print what the driver has said and what storage holds; return whether the run has finished."""
        self._show_rows()  # first, because it says whether the driver's own progress is needed
        self._print(self._log.lines())
        return self.has_finished

    def end(self) -> None:
        """Print what is left, now that the job has ended."""
        self._print(self._log.last_lines())
        self._read_at = 0.0
        self._show_rows()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.note(text)

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line and not is_known(line, by_storage=self._can_read):
                self.note(line)

    def _show_rows(self) -> None:
        begun = time.monotonic()
        if not self._can_read or begun < self._read_at:
            return
        try:
            status = self._reader.read()
        except AnonBatchError as exc:
            if isinstance(exc, ConfigError):  # the driver has not begun to write
                self._finished_before = False
            elif not exc.retryable:
                self._can_read = False
                self.note(f"OUTPUT cannot be read from here, so progress is what the driver says: {exc}")
        else:
            finished = status.state == "finished"
            if self._finished_before is None:
                self._finished_before = finished
            self.has_finished = finished and not self._finished_before
            if status != self._shown:  # because lines that say the same again look like progress
                if self._shown is None:
                    self._bar.start(status.total, status.done)
                self._shown = status
                self._bar.update(status.done, *describe_rows(status.statuses, status.shards_count))
        self._read_at = time.monotonic() + max(_READ_EVERY_S, (time.monotonic() - begun) / _SHARE_OF_TIME)


def is_known(line: str, *, by_storage: bool) -> bool:
    """Return whether a line of the driver's log says nothing that this command does not say itself.

    Args:
        line: of the log.
        by_storage: whether storage can be read, so that the driver's own progress is not needed.
    """
    return bool(_RESULT.match(line) or _RAY.match(line) or (by_storage and _PROGRESS.match(line)))
