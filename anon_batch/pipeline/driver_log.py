"""The log of one start of the driver, kept in the ledger, so that it outlives the driver's machine.

It holds the messages of a run, as lines with the time (UTC), but no text of an error, because such a text may name an image
that is erased later: errors appear by their code, their store or lines of code. See `Ending`.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice

from anon_batch import __version__
from anon_batch.errors import StorageError
from anon_batch.formats.gates_json import GateResult
from anon_batch.formats.ledger import Ledger
from anon_batch.manifest.publish import describe_columns
from anon_batch.pipeline.observers import STOPPED, Ending
from anon_batch.pipeline.run import Run
from anon_batch.records import STATUSES, ShardResult
from anon_batch.redaction import redact
from anon_batch.storage import Storage
from anon_batch.units import format_counted, format_duration, format_share

INTERVAL_S = 60.0
_LAST_PUT_S = 20.0
_LAST_PUT_WHEN_STOPPED_S = 1.0  # because Ray kills a driver 3 s after SIGTERM
_FIRST_LINES, _LAST_LINES, _LINE_LENGTH = 100, 1000, 400


class DriverLog:
    """Keeps the log; an `Observer` of the driver. A thread writes it, so that a slow store stops nothing.

    Args:
        run: the run; its ledger takes the log.
        warn: called once when the log cannot be written.
        interval_s: seconds between two puts.
    """

    def __init__(self, run: Run, warn: Callable[[str], None], interval_s: float = INTERVAL_S) -> None:
        config = run.config.storage.model_copy(update={"retries": 0, "retry_for_s": 0.0})  # it is put again anyway
        self._ledger = Ledger(Storage(config), run.ledger.uri)
        self._invocation = run.invocation
        self._started_at = datetime.now(UTC)
        self._warn, self._interval_s = warn, interval_s
        self._lock = threading.Lock()
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._left_out = 0
        self._progress = _Progress()
        self._wake, self._is_over, self._has_warned = threading.Event(), False, False
        self._thread = threading.Thread(target=self._keep, name="driver-log", daemon=True)

    def write(self, text: str) -> None:
        """Add a line, or several."""
        moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        with self._lock:
            for line in redact(text).splitlines():
                self._add(f"{moment} {''.join(c if c.isprintable() else ' ' for c in line[:_LINE_LENGTH])}")

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Begin to keep the log."""
        with self._lock:
            self._progress.begin(run.plan.total, done)
        self.write(
            f"run {run.plan.run_id} of job {run.config.name!r} {'resumes' if resumed else 'starts'}: {done.total():,} of "
            f"{run.plan.total:,} rows are done; {run.release.uri} (ledger {run.ledger.uri})"
        )
        self.write(
            f"anon-batch {__version__}, Python {platform.python_version()} on {platform.system()} "
            f"{platform.machine()}; models: {', '.join(run.plan.models) or 'none'}"
        )
        for line in describe_columns(run.plan.columns):
            self.write(line)
        self._thread.start()

    def shard(self, result: ShardResult) -> None:
        """Count a shard; add a line for one that was not committed."""
        with self._lock:
            self._progress.add(result)
        if result.outcome == "exhausted":
            self.write(f"shard {result.spec.name}: no attempts left")
        elif result.outcome == "error":
            then = "is tried again" if result.retryable else "ends the run"
            self.write(f"shard {result.spec.name}: {result.code or 'error'} {result.place}; it {then}")

    def note(self, text: str) -> None:
        """Add a message."""
        self.write(text)

    def workers(self, number: int) -> None:
        """Keep how many workers there are now, for the next line about the progress."""
        with self._lock:
            self._progress.set_workers(number)

    def ended(self, ending: Ending) -> None:
        """Add how the run ended, and write the log for the last time; wait no longer than a store may take."""
        self._write_progress()
        if ending.stats is not None:
            self.write(f"finished: {ending.stats.rows:,} rows: {_listed_statuses(ending.stats.statuses)}")
        for result in () if ending.gates is None else ending.gates.results:
            self.write(_gate_line(result))
        self.write(f"ends: {ending.describe()}")
        self._is_over = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_LAST_PUT_WHEN_STOPPED_S if ending.error in STOPPED else _LAST_PUT_S)

    def _add(self, line: str) -> None:
        if len(self._first) < _FIRST_LINES:
            self._first.append(line)
            return
        self._left_out += len(self._last) == _LAST_LINES
        self._last.append(line)

    def _text(self) -> str:
        with self._lock:
            gap = [f"... {format_counted(self._left_out, 'line')} left out ..."] if self._left_out else []
            return "\n".join([*self._first, *gap, *self._last, ""])

    def _write_progress(self) -> None:
        with self._lock:
            line = self._progress.take()
        if line:
            self.write(line)

    def _keep(self) -> None:
        written = ""
        while True:
            is_over = self._is_over
            if (text := self._text()) != written:
                try:
                    self._ledger.put_driver_log(self._started_at, self._invocation, text)
                    written = text
                except StorageError as exc:
                    self._warn_once(exc)
            if is_over:
                return
            self._wake.wait(self._interval_s)
            if not self._is_over:
                self._write_progress()

    def _warn_once(self, exc: StorageError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._warn(f"the driver's log cannot be kept in the ledger: {exc}; the run goes on")


class _Progress:
    """What happened since the last line about it."""

    def __init__(self) -> None:
        self._total = self._workers = self._most_workers = 0
        self._statuses: Counter[str] = Counter()
        self._clear()

    def begin(self, total: int, done: Counter[str]) -> None:
        self._total = total
        self._statuses.update(done)

    def set_workers(self, number: int) -> None:
        self._workers = number
        self._most_workers = max(number, self._most_workers)

    def add(self, result: ShardResult) -> None:
        self._shards += 1
        self._retries.update(result.retries)
        if result.outcome == "committed":
            self._statuses.update(result.statuses)
            self._reasons.update(result.reasons)
            self._seconds.update(result.timings)

    def take(self) -> str:
        """Return a line, empty if nothing happened, and begin again."""
        if not self._shards:
            return ""
        done, seconds = self._statuses.total(), time.monotonic() - self._since
        counts = _listed_statuses(self._statuses)
        shards, workers = format_counted(self._shards, "shard"), format_counted(self._most_workers, "worker")
        parts = [
            f"{done:,} of {self._total:,} rows: {counts}",
            f"{shards} by {workers} in {format_duration(seconds)}",
            _listed("without an output", self._reasons, "{:,}"),
            _listed("storage calls repeated", self._retries, "{:,}"),
            _listed("seconds of all threads", self._seconds, "{:.1f}"),
        ]
        self._clear()
        return "; ".join(part for part in parts if part)

    def _clear(self) -> None:
        self._shards, self._most_workers, self._since = 0, self._workers, time.monotonic()
        self._reasons: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()


def _listed_statuses(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{statuses.get(status, 0):,} {status}" for status in STATUSES)


def _listed(title: str, values: Counter[str], form: str) -> str:
    listed = ", ".join(f"{name} {form.format(value)}" for name, value in islice(sorted(values.items()), 20))
    return f"{title}: {listed}" if listed else ""


def _gate_line(result: GateResult) -> str:
    bound = "at most" if result.kind == "at_most" else "at least"
    verdict = "passed" if result.passed else "exceeded"
    return f"gate {result.name} {verdict}: {format_share(result.value)} (limit: {bound} {format_share(result.limit)})"
