"""Work that is divided into tasks of some rows: a task that fails is repeated, then split; a row that keeps failing is given up.

Knows nothing of what is done with the rows, nor of who does it: a process, threads or Ray.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from anon_batch.errors import (
    AnonBatchError,
    ClusterError,
    ExitCode,
    IntegrityError,
    ObjectUnavailableError,
    StorageError,
    TransientStorageError,
    UsageError,
)
from anon_batch.redaction import redact

ATTEMPTS = 3


class Task(Protocol):
    """Rows that one worker works on in one go.

    Attributes:
        attempts: that failed so far.
        rows_count: number of rows, from 1.
        title: what messages call them, for example `rows 3 to 8`.
    """

    @property
    def attempts(self) -> int: ...

    @property
    def rows_count(self) -> int: ...

    @property
    def title(self) -> str: ...

    def failed_once_more(self) -> Self:
        """Return the same task after a further attempt."""

    def halves(self) -> list[Self]:
        """Return two tasks with half of the rows each, without attempts."""


_Task = TypeVar("_Task", bound=Task)
_Value = TypeVar("_Value")


@dataclass(frozen=True)  # without slots, because a generic class with slots cannot be called by an alias
class Attempt(Generic[_Task, _Value]):
    """How an attempt at a task ended.

    Args:
        task: the rows.
        value: what came out; None if the attempt failed.
        error: what failed, without addresses of sources.
        fatal: the exit code of an error that no further attempt can heal; None if one may.
        store_is_away: whether a store kept failing for everybody.
    """

    task: _Task
    value: _Value | None
    error: str = ""
    fatal: int | None = None
    store_is_away: bool = False


def attempt(task: _Task, work: Callable[[_Task], _Value]) -> Attempt[_Task, _Value]:
    """Make one attempt at a task. Never raise: every error is returned."""
    try:
        return Attempt(task, work(task))
    except StorageError as exc:
        is_away = isinstance(exc, TransientStorageError) and not isinstance(exc, ObjectUnavailableError)
        return Attempt(task, None, str(exc), None if exc.retryable else int(exc.exit_code), is_away)
    except AnonBatchError as exc:
        return Attempt(task, None, str(exc), fatal=int(exc.exit_code))
    except Exception as exc:
        sys.stderr.write(redact(traceback.format_exc()))  # into this worker's log
        return Attempt(task, None, redact(f"{type(exc).__name__} at {task.title}"))


Dispatch = Callable[[Iterable[_Task]], Iterator[Attempt[_Task, _Value]]]
"""Works on tasks as they are asked for, and yields one attempt for each, in any order."""


@dataclass(frozen=True, slots=True)
class Words:
    """What messages say.

    Args:
        done: what is done with rows: `measured`, `searched`.
        advice: what a user does after an error that passes.
    """

    done: str
    advice: str


def do_all(
    tasks: Iterable[_Task],
    dispatch: Dispatch[_Task, _Value],
    done: Callable[[_Task, _Value], None],
    give_up: Callable[[_Task], _Value],
    note: Callable[[str], None],
    words: Words,
) -> None:
    """Do all tasks. One that fails is repeated; after ATTEMPTS it is split, and a single row that keeps failing is given up.

    Args:
        tasks: all tasks.
        dispatch: works on them.
        done: called with each finished task and what came out of it.
        give_up: returns what counts for a single row that keeps failing.
        note: called with messages for the user.
        words: of these messages.

    Raises:
        IntegrityError: release or ledger is damaged.
        TransientStorageError: storage kept failing.
        UsageError: an error that no repetition heals.
        ClusterError: all workers were lost.
    """
    upcoming = deque(tasks)
    while upcoming:
        batch, upcoming = upcoming, deque()
        for result in dispatch(batch):
            if result.value is not None:
                done(result.task, result.value)
            elif result.fatal is not None:
                raise _fatal(result.fatal, result.error)
            elif again := _tried_again(result, note, words):
                upcoming += again
            else:
                done(result.task, give_up(result.task))


def _tried_again(result: Attempt[_Task, _Value], note: Callable[[str], None], words: Words) -> list[_Task]:
    """Return what is tried again after an attempt that failed; nothing if the row is given up."""
    task = result.task.failed_once_more()
    if task.attempts < ATTEMPTS:
        note(f"{task.title} will be {words.done} again: {result.error}")
        return [task]
    if result.store_is_away:
        raise TransientStorageError(f"{result.error}; {words.advice}")
    if task.rows_count > 1:
        note(f"{task.title} failed {ATTEMPTS} times and are split: {result.error}")
        return task.halves()
    note(f"{task.title} could not be {words.done}: {result.error}")
    return []


def _fatal(code: int, error: str) -> AnonBatchError:
    kinds = {int(ExitCode.INTEGRITY): IntegrityError, int(ExitCode.TRY_AGAIN): ClusterError}
    return kinds.get(code, UsageError)(error)
