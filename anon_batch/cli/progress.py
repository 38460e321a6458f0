"""Progress of a run and of a training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from anon_batch.cli.console import err
from anon_batch.manifest.publish import describe_columns
from anon_batch.pipeline.rounds import describe_setback
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult
from anon_batch.units import format_counted, format_duration

_PLAIN_INTERVAL_S = 10.0
_BAR_WIDTH = 10  # columns, because a terminal often has 80 and the text is cut off at its end


class ProgressBar:
    """A bar with a line of text on a terminal; elsewhere the text alone, at most once in ten seconds.

    Use it as a context manager.

    Args:
        unit: of the rate, e.g. "images".
        quiet: print nothing.
    """

    def __init__(self, unit: str, *, quiet: bool = False) -> None:
        self._unit = unit
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._total = self._done = self._done_before = 0
        self._begin = time.monotonic()
        self._printed_at = -_PLAIN_INTERVAL_S

    def __enter__(self) -> ProgressBar:
        if err.is_terminal and not self._quiet:
            self._bar = Progress(BarColumn(_BAR_WIDTH), TextColumn("{task.fields[text]}", markup=False), console=err)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int, done: int) -> None:
        """Begin to count; `done` of `total` were done before, so they do not count for the rate."""
        self._total, self._done, self._done_before = total, done, done
        self._begin = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total, completed=done, text="")

    def update(self, done: int, details: str = "", first: str = "") -> None:
        """Show that `done` are done now; `first` goes before the rate, `details` to the end."""
        self._done = done
        if self._quiet:
            return
        text = f"{self.text(first)}; {details}" if details else self.text(first)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
        elif done >= self._total or time.monotonic() - self._printed_at >= _PLAIN_INTERVAL_S:
            self._printed_at = time.monotonic()
            err.print(text, markup=False)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if not self._quiet:
            err.print(text, markup=False)

    def text(self, first: str = "") -> str:
        """Return e.g. `1,200/5,000 images (24.0 %), 21.3 images/s, 2 min 58 s left`; `first` goes before the rate."""
        done_now = self._done - self._done_before
        rate = done_now / max(time.monotonic() - self._begin, 1e-9)
        left = format_duration((self._total - self._done) / rate) if rate else "unknown time"
        share = 100 * self._done / self._total if self._total else 100.0
        head = f"{self._done:,}/{self._total:,} {self._unit} ({share:.1f} %), {first}{', ' if first else ''}"
        return f"{head}{rate:.1f} {self._unit}/s, {left} left"


def describe_rows(statuses: Mapping[str, int], shards: int) -> tuple[str, str]:
    """Return what goes to the end of a line of progress, and what goes before the rate.

    Args:
        statuses: status -> rows.
        shards: number of commits.
    """
    withheld, failed, clean, anonymized = (statuses.get(s, 0) for s in ("withheld", "failed", "clean", "anonymized"))
    details = f"{anonymized:,} anonymized, {clean:,} clean; {format_counted(shards, 'shard')}"
    return details, f"{withheld:,} withheld, {failed:,} failed"


class RunProgress:
    """Prints the progress of a run; a `Reporter` of the driver. Use it as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = ProgressBar("images", quiet=quiet)
        self._statuses: Counter[str] = Counter()
        self._shards = 0

    def __enter__(self) -> RunProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Say what the run is about to do."""
        self._statuses.update(done)
        self._bar.start(run.plan.total, done.total())
        verb = f"resumes, {done.total():,} rows are done" if resumed else "starts"
        self.note(
            f"run {run.plan.run_id} {verb}: {run.plan.total:,} rows -> {run.release.uri} (ledger {run.ledger.uri})"
        )
        for line in describe_columns(run.plan.columns):
            self.note(line)

    def shard(self, result: ShardResult) -> None:
        """Count a shard."""
        if result.outcome == "committed":
            self._shards += 1
            self._statuses.update(result.statuses)
        if (setback := describe_setback(result)) is not None:
            self.note(setback)
        self._bar.update(self._statuses.total(), *describe_rows(self._statuses, self._shards))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.note(text)


class TrainingProgress:
    """Prints the progress of a training. Use it as a context manager.

    Args:
        steps: number of steps of the whole training.
    """

    def __init__(self, steps: int) -> None:
        self._bar = ProgressBar("steps")
        self._steps = steps
        self._started = False

    def __enter__(self) -> TrainingProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.note(text)

    def step(self, metrics: dict[str, Any]) -> None:
        """Show the metrics of a step. Those of held-out faces, which have no `faces_per_s`, stay as a line."""
        step = int(metrics["step"])
        losses = {name: value for name, value in metrics.items() if name not in ("step", "faces_per_s")}
        text = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in losses.items())
        if "faces_per_s" not in metrics:
            self.note(f"step {step:,}: {text}")
            return
        if not self._started:
            self._started = True
            self._bar.start(self._steps, step)
        self._bar.update(step, f"{metrics['faces_per_s']:.1f} faces/s; {text}")
