"""Those who hear of a run beside its user: none of them can stop it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol

from anon_batch.errors import (
    AnonBatchError,
    ExitCode,
    StoppedError,
    StorageError,
    TerminatedError,
    error_code,
    trace_without_text,
)
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.rounds import Reporter
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult
from anon_batch.storage.retry import store_of

STOPPED = ("stopped", "terminated")  # values of `Ending.error` of what was stopped on purpose, or by SIGTERM


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. It names no image and no source, so it may be kept and sent.

    Args:
        exit_code: of the command, before `--finished-exit-zero`.
        stats, gates: of a run that finished; else None.
        error: `error_code` of what ended it; empty if it finished.
        place: where an unexpected error was raised, the store of a storage error, or why the run was stopped; else empty.
    """

    exit_code: ExitCode
    stats: StatsJson | None = None
    gates: Gates | None = None
    error: str = ""
    place: str = ""

    def describe(self) -> str:
        """Return one line: what happened, and what to do."""
        what = " ".join(part for part in (self.error, self.place) if part)
        code = f"exit code {int(self.exit_code)}: {self.exit_code.meaning}; to do: {self.exit_code.action}"
        return f"{what}; {code}" if what else code


class Observer(Reporter, Protocol):
    """A reporter that hears of workers and of the end too."""

    def workers(self, number: int) -> None: ...
    def ended(self, ending: Ending) -> None: ...


class Observed:
    """Passes on to a reporter and to observers. As a context manager it says how the block ended, once.

    An observer that raises is left out from then on, and the user hears of it.

    Args:
        reporter: of the user; its errors are errors of the run.
        observers: hear the same.
        is_terminated: returns whether SIGTERM arrived, for a block that ends by KeyboardInterrupt.
    """

    def __init__(
        self, reporter: Reporter, observers: Sequence[Observer], is_terminated: Callable[[], bool] = lambda: False
    ) -> None:
        self._reporter = reporter
        self._observers = list(observers)
        self._is_terminated = is_terminated
        self._finished: Ending | None = None
        self._workers = 0

    def join(self, make: Callable[[], Observer]) -> None:
        """Add an observer."""
        self._try(lambda: self._observers.append(make()), "an observer")

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Say what the run is about to do."""
        self._reporter.started(run, done, resumed=resumed)
        self._each(lambda observer: observer.started(run, done, resumed=resumed))

    def shard(self, result: ShardResult) -> None:
        """Count a shard."""
        self._reporter.shard(result)
        self._each(lambda observer: observer.shard(result))

    def note(self, text: str) -> None:
        """Pass on a message that names no image."""
        self._reporter.note(text)
        self._each(lambda observer: observer.note(text))

    def record(self, text: str) -> None:
        """Pass on to the observers alone what the user need not read."""
        self._each(lambda observer: observer.note(text))

    def workers(self, number: int) -> None:
        """Pass on how many workers have loaded their models, when that changes."""
        if number != self._workers:
            self._workers = number
            self._each(lambda observer: observer.workers(number))

    def finished(self, exit_code: ExitCode, stats: StatsJson, gates: Gates) -> None:
        """Keep what the observers hear when the block ends."""
        self._finished = Ending(exit_code, stats, gates)

    def __enter__(self) -> Observed:
        return self

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, __: TracebackType | None) -> None:
        ending = self._finished if exc is None else ending_of(exc, is_terminated=self._is_terminated())
        if ending is not None:
            self._each(lambda observer: observer.ended(ending))
            self._observers.clear()

    def _each(self, tell: Callable[[Observer], None]) -> None:
        self._observers = [one for one in self._observers if self._try(partial(tell, one), type(one).__name__)]

    def _try(self, tell: Callable[[], object], name: str) -> bool:
        try:
            tell()
        except Exception as exc:  # because watching a run must never end it
            self._reporter.note(f"{name} is off: {trace_without_text(exc)}; the run goes on")
            return False
        return True


def ending_of(exc: BaseException, *, is_terminated: bool) -> Ending:
    """Return how a command ends that an exception ends."""
    if isinstance(exc, (StoppedError, TerminatedError)):  # whose texts are our own
        return Ending(exc.exit_code, error=error_code(exc), place=f"({exc})")
    if isinstance(exc, AnonBatchError):
        place = store_of(exc.uri) if isinstance(exc, StorageError) and exc.uri else ""
        return Ending(exc.exit_code, error=error_code(exc), place=place)
    if isinstance(exc, KeyboardInterrupt):
        code = ExitCode.TRY_AGAIN if is_terminated else ExitCode.STOPPED
        return Ending(code, error="terminated" if is_terminated else "stopped")
    return Ending(ExitCode.UNEXPECTED, error=error_code(exc), place=trace_without_text(exc))
