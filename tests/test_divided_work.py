"""Attempts at tasks return every error, whatever the work raises, and name no secret."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from anon_batch.divided_work import Attempt, Words, attempt, do_all
from anon_batch.errors import (
    AccessDeniedError,
    ConfigError,
    ExitCode,
    IntegrityError,
    ObjectUnavailableError,
    TransientStorageError,
)


@dataclass(frozen=True)
class Numbers:
    first: int
    rows_count: int
    attempts: int = 0

    @property
    def title(self) -> str:
        return f"numbers from {self.first}"

    def failed_once_more(self) -> Numbers:
        return replace(self, attempts=self.attempts + 1)

    def halves(self) -> list[Numbers]:
        half = (self.rows_count + 1) // 2
        return [Numbers(self.first, half), Numbers(self.first + half, self.rows_count - half)]


TASK = Numbers(0, 5)


@pytest.mark.parametrize(
    ("error", "fatal", "is_away"),
    [
        (IntegrityError("part"), ExitCode.INTEGRITY, False),
        (ConfigError("key"), ExitCode.USAGE, False),
        (AccessDeniedError("no", "s3://b"), ExitCode.USAGE, False),
        (TransientStorageError("503", "s3://b"), None, True),
        (ObjectUnavailableError("timeout", "s3://b/o"), None, False),
        (ValueError("what"), None, False),
    ],
)
def test_an_error_of_the_work_is_returned(error: Exception, fatal: int | None, is_away: bool) -> None:
    def work(task: Numbers) -> int:
        raise error

    result = attempt(TASK, work)
    assert (result.value, result.fatal, result.store_is_away) == (None, fatal, is_away)
    assert result.error


def test_neither_result_nor_log_of_an_unexpected_error_holds_a_query(capfd: pytest.CaptureFixture[str]) -> None:
    def work(task: Numbers) -> int:
        raise RuntimeError("GET https://host.example/a.jpg?X-Amz-Signature=CANARY failed")

    assert attempt(TASK, work).error == "RuntimeError at numbers from 0"
    log = capfd.readouterr().err
    assert "Traceback" in log
    assert "CANARY" not in log


def test_each_row_is_done_or_given_up_once() -> None:
    done: dict[int, str] = {}
    notes: list[str] = []

    def work(task: Numbers) -> str:
        if task.first <= 3 < task.first + task.rows_count:
            raise ValueError("3 is bad")
        return "done"

    def add(task: Numbers, value: str) -> None:
        for number in range(task.first, task.first + task.rows_count):
            assert number not in done
            done[number] = value

    def dispatch(tasks):
        return (attempt(task, work) for task in tasks)

    do_all([TASK], dispatch, add, lambda task: "lost", notes.append, Words("counted", "again"))
    assert done == {0: "done", 1: "done", 2: "done", 3: "lost", 4: "done"}
    assert notes[0] == "numbers from 0 will be counted again: ValueError at numbers from 0"
    assert notes[-1] == "numbers from 3 could not be counted: ValueError at numbers from 3"


def test_a_store_that_stays_away_ends_the_work_with_advice() -> None:
    def dispatch(tasks):
        return (Attempt(task, None, "503", store_is_away=True) for task in tasks)

    with pytest.raises(TransientStorageError, match="503; run it again"):
        do_all([TASK], dispatch, lambda *_: None, lambda task: 0, lambda _: None, Words("counted", "run it again"))
