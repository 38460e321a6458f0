"""Ray's job server in memory, for tests of what is done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from anon_batch.cluster.jobs.server import JobExistsError, ServerAwayError, SubmittedJob, UnknownJobError

START = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryJobServer:
    """A job server whose jobs go where `script` sends them, one state for each time that one is looked at.

    Args:
        script: states of every job that is submitted; the last one stays. None is a time at which the server is away.
    """

    address = "http://head:8265"

    def __init__(self, script: Iterable[SubmittedJob | None] = ()) -> None:
        self.script = list(script)
        self.known: dict[str, SubmittedJob] = {}
        self.files: dict[str, str] = {}
        self.modes: dict[str, int] = {}
        self.entrypoints: dict[str, str] = {}
        self.stops: list[str] = []
        self.printed = ""
        self.away_after_submit = 0

    def jobs(self) -> list[SubmittedJob]:
        return list(self.known.values())

    def job(self, submission_id: str) -> SubmittedJob:
        if submission_id not in self.known:
            raise UnknownJobError(f"{self.address}: Job {submission_id} does not exist")
        if self.script:
            state = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if state is None:
                raise ServerAwayError(f"no Ray job server answers at {self.address} (Connection refused)")
            known = self.known[submission_id]
            self.known[submission_id] = replace(state, submission_id=submission_id, metadata=known.metadata)
        return self.known[submission_id]

    def submit(self, submission_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> None:
        if submission_id in self.known:
            raise JobExistsError(f"{submission_id} already exists")
        self.files[submission_id] = (folder / "job.yaml").read_text(encoding="utf-8")
        self.modes[submission_id] = (folder / "job.yaml").stat().st_mode & 0o777
        assert [file.name for file in folder.iterdir()] == ["job.yaml"]
        self.entrypoints[submission_id] = entrypoint
        started = START + timedelta(minutes=len(self.known))
        self.known[submission_id] = SubmittedJob(
            submission_id, "PENDING", "Job has not started yet.", None, None, started
        )
        self.known[submission_id] = replace(self.known[submission_id], metadata=dict(metadata))
        if self.away_after_submit:
            self.away_after_submit -= 1
            raise ServerAwayError("the answer was lost")

    def end(self, submission_id: str, status: str = "SUCCEEDED", exit_code: int | None = 0, message: str = "") -> None:
        self.known[submission_id] = replace(
            self.known[submission_id], status=status, exit_code=exit_code, message=message
        )

    def stop(self, submission_id: str) -> None:
        self.stops.append(submission_id)
        self.end(submission_id, "STOPPED", None)

    def log(self, submission_id: str) -> str:
        return self.printed

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        for line in self.printed.splitlines(keepends=True):
            yield line


def job(status: str, exit_code: int | None = None, message: str = "", error_type: str | None = None) -> SubmittedJob:
    return SubmittedJob("", status, message, error_type, exit_code, START)
