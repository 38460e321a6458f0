"""A deadline and a budget for one start of the driver, and what its workers have cost so far. Knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError, StoppedError
from anon_batch.units import format_counted, format_duration

GRACE_S = 120.0  # for the shards in flight; because a shard of 512 rows rarely takes longer, little work is lost


@dataclass(frozen=True, slots=True)
class Limits:
    """What one start of the driver may take; a resume is another start.

    Args:
        deadline_s: wall time in seconds; None: no limit.
        max_cost: in the currency of the price; None: no limit.
        worker_hour: price of one worker for an hour, with its share of a GPU; None: unknown.
    """

    deadline_s: float | None = None
    max_cost: float | None = None
    worker_hour: float | None = None

    @classmethod
    def of(
        cls,
        engine: EngineConfig,
        deadline_s: float | None,
        max_cost: float | None,
        price_worker_hour: float | None,
        price_gpu_hour: float | None,
    ) -> Limits:
        """Return the limits of a job; prices are those of `estimate`.

        Raises:
            ConfigError: `max_cost` without the prices of all that a worker reserves, or a price that would count for nothing.
        """
        if price_gpu_hour is not None and price_worker_hour is None:
            raise ConfigError(
                "--price-gpu-hour needs --price-worker-hour, the price of a worker without its GPU; 0 if it is free"
            )
        missing = ["--price-worker-hour"] if price_worker_hour is None else []
        missing += ["--price-gpu-hour"] if engine.num_gpus and price_gpu_hour is None else []
        if max_cost is not None and missing:
            raise ConfigError(
                f"--max-cost needs {' and '.join(missing)}, because cost is price x workers x time (engine.num_gpus is "
                f"{engine.num_gpus:g}); give 0 for what the other price includes"
            )
        gpu = engine.num_gpus * (price_gpu_hour or 0.0)
        return cls(deadline_s, max_cost, None if price_worker_hour is None else price_worker_hour + gpu)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a start of the driver has taken.

    Args:
        seconds: wall time.
        worker_hours: sum over all workers of the time in which each held resources.
        cost: of the workers; None without a price.
    """

    seconds: float
    worker_hours: float
    cost: float | None


class Budget:
    """Count what a start of the driver takes, and say when it reaches a limit. The clock starts here.

    Args:
        limits: what it may take.
        clock: returns seconds.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._started_at = self._counted_at = self._rows_since = clock()
        self._workers = 0
        self._worker_s = 0.0
        self._total = self._done_before = self._done = 0
        self._reached, self._reached_at = "", 0.0

    def begin(self, total: int, done: int) -> None:
        """Begin to count rows: `done` of `total` had their commit before."""
        self._total, self._done_before, self._done, self._rows_since = total, done, done, self._clock()

    def commit(self, rows: int) -> None:
        """Count rows that were committed."""
        self._done += rows

    def hold(self, workers: int, before_s: float = 0.0) -> None:
        """Count the workers that hold resources from now on. Call it every few seconds.

        Args:
            workers: their number.
            before_s: seconds for which some of them held resources before they were counted, because they were starting.

        Raises:
            StoppedError: a limit was reached, and the shards in flight did not end in time.
        """
        self._count()
        self._workers = workers
        self._worker_s += before_s
        if self._is_reached() and self._clock() - self._reached_at > GRACE_S:
            raise StoppedError(
                self._stopped(f"the shards in flight did not end within {GRACE_S:g} s and were given up")
            )

    def stops(self) -> StoppedError | None:
        """Return the error that ends the run once a limit is reached; None to go on."""
        return StoppedError(self._stopped("the shards in flight have ended")) if self._is_reached() else None

    @property
    def spent(self) -> Spent:
        """What was taken until now."""
        self._count()
        hours, price = self._worker_s / 3600, self.limits.worker_hour
        return Spent(self._clock() - self._started_at, hours, None if price is None else hours * price)

    def _count(self) -> None:
        now = self._clock()
        self._worker_s += self._workers * (now - self._counted_at)
        self._counted_at = now

    def _is_reached(self) -> bool:
        """Return whether a limit is reached, and keep which one and since when."""
        limits = self.limits
        if not self._reached and (limits.deadline_s is not None or limits.max_cost is not None):
            spent = self.spent
            if limits.deadline_s is not None and spent.seconds >= limits.deadline_s:
                self._reached = f"the deadline of {format_duration(limits.deadline_s)}"
            elif limits.max_cost is not None and (spent.cost or 0.0) >= limits.max_cost:
                self._reached = f"the budget of {limits.max_cost:,.2f}"
            self._reached_at = self._clock()
        return bool(self._reached)

    def _stopped(self, in_flight: str) -> str:
        return (
            f"stopped, because {self._reached} is reached; {in_flight}. {self._left()}. Committed shards stay; run the same "
            "command again to go on, with a new deadline and budget"
        )

    def _left(self) -> str:
        """Return what is done and what is left, with time and cost at the rate of this start."""
        done, left, rows = self._done, self._total - self._done, self._done - self._done_before
        spent = self.spent
        so_far = f" and cost {spent.cost:,.2f}" if spent.cost is not None else ""
        text = (
            f"{done:,} of {format_counted(self._total, 'row')} are done, {rows:,} of them in this start, which took "
            f"{format_duration(spent.seconds)}{so_far}"
        )
        if not rows:
            return f"{text}; {left:,} are left"
        hours = format_duration((self._clock() - self._rows_since) / rows * left)
        money = f" and a cost of {spent.cost / rows * left:,.2f}" if spent.cost is not None else ""
        return f"{text}; {left:,} are left: about {hours}{money} at this rate"
