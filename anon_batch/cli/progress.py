"""How a run goes: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter

from rich.live import Live
from rich.text import Text

from anon_batch.cli.console import count, duration, err, statuses_line
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult

_PLAIN_INTERVAL_S = 10.0


class RunProgress:
    """A driver's Reporter that prints.

    Use it as a context manager, so that the live line ends.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._statuses: Counter[str] = Counter()
        self._total = 0
        self._shards = 0
        self._rows_now = 0
        self._begin = time.monotonic()
        self._printed_at = 0.0

    def __enter__(self) -> RunProgress:
        if err.is_terminal and not self._quiet:
            self._live = Live(console=err, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        self._begin = time.monotonic()
        self._total = run.plan.total
        self._statuses.update(done)
        verb = f"resumes, {count(done.total())} rows are done" if resumed else "starts"
        self._say(f"run {run.plan.run_id} {verb}: {count(run.plan.total)} rows -> {run.output} (ledger {run.ledger})")

    def shard(self, result: ShardResult) -> None:
        if result.outcome == "committed":
            self._shards += 1
            self._statuses.update(result.statuses)
            self._rows_now += sum(result.statuses.values())
        self._show(last=self._statuses.total() >= self._total)

    def note(self, text: str) -> None:
        self._say(text)

    def lines(self) -> tuple[str, str]:
        """How far and how fast; and what became of the rows."""
        seconds = max(time.monotonic() - self._begin, 1e-9)
        rate = self._rows_now / seconds
        done = self._statuses.total()
        left = (self._total - done) / rate if rate else None
        share = 100 * done / self._total if self._total else 100.0
        progress = (
            f"{count(done)}/{count(self._total)} images ({share:.1f} %), {count(self._shards)} shards, {rate:.1f} images/s, "
            f"left {duration(left)}"
        )
        return progress, statuses_line(dict(self._statuses))

    def _show(self, *, last: bool) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(Text("\n".join(self.lines())))
        elif last or time.monotonic() - self._printed_at >= _PLAIN_INTERVAL_S:
            self._printed_at = time.monotonic()
            err.print("; ".join(self.lines()), markup=False)

    def _say(self, text: str) -> None:
        if not self._quiet:
            err.print(text, markup=False)
