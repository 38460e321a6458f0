"""Deadline and budget of one start, by a clock that the test moves."""

from __future__ import annotations

import pytest

from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError, ExitCode, StoppedError
from anon_batch.pipeline.budget import GRACE_S, Budget, Limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, hours: float) -> None:
        self.now += 3600 * hours


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_cost_is_price_times_workers_times_time(clock: Clock) -> None:
    budget = Budget(Limits(worker_hour=0.5), clock)
    clock.wait(2)  # no worker holds anything yet
    budget.hold(4)
    clock.wait(1)
    budget.hold(2)
    clock.wait(3)
    budget.hold(0)
    clock.wait(5)
    assert budget.spent.worker_hours == pytest.approx(4 + 6)
    assert budget.spent.cost == pytest.approx(5.0)
    assert budget.spent.seconds == pytest.approx(11 * 3600)
    assert budget.stops() is None


def test_the_time_in_which_a_worker_loads_its_models_costs_too(clock: Clock) -> None:
    budget = Budget(Limits(worker_hour=1.0), clock)
    clock.wait(1)
    budget.hold(1, 1800)
    clock.wait(1)
    assert budget.spent.cost == pytest.approx(1.5)


def test_without_a_price_the_cost_is_unknown(clock: Clock) -> None:
    budget = Budget(clock=clock)
    budget.hold(3)
    clock.wait(1)
    assert budget.spent.cost is None
    assert budget.spent.worker_hours == pytest.approx(3)
    assert budget.stops() is None


def test_a_deadline_stops_on_purpose_and_says_what_is_left(clock: Clock) -> None:
    budget = Budget(Limits(deadline_s=2 * 3600, worker_hour=1.5), clock)
    budget.begin(5000, 1000)
    budget.hold(2)
    clock.wait(1.9)
    budget.commit(2000)
    assert budget.stops() is None
    clock.wait(0.1)
    error = budget.stops()
    assert isinstance(error, StoppedError)
    assert error.exit_code == ExitCode.STOPPED
    assert str(error) == (
        "stopped, because the deadline of 2 h 00 min is reached; the shards in flight have ended. 3,000 of 5,000 rows are done, "
        "2,000 of them in this start, which took 2 h 00 min and cost 6.00; 2,000 are left: about 2 h 00 min and a cost of "
        "6.00 at this rate. Committed shards stay; run the same command again to go on, with a new deadline and budget"
    )


def test_a_budget_stops_by_the_money(clock: Clock) -> None:
    budget = Budget(Limits(max_cost=10.0, worker_hour=1.0), clock)
    budget.begin(100, 0)
    budget.hold(4)
    clock.wait(2.4)
    assert budget.stops() is None
    clock.wait(0.1)
    error = budget.stops()
    assert error is not None
    assert "the budget of 10.00 is reached" in str(error)
    assert "0 of 100 rows are done" in str(error)
    assert "100 are left." in str(error), "nothing is known of the rate"


def test_shards_in_flight_are_given_up_after_a_while(clock: Clock) -> None:
    budget = Budget(Limits(deadline_s=60), clock)
    budget.hold(1)
    clock.now += 61
    budget.hold(1)
    clock.now += GRACE_S
    budget.hold(1)
    clock.now += 1
    with pytest.raises(StoppedError, match=r"did not end within 120 s and were given up.*run the same command again"):
        budget.hold(1)


def test_a_limit_that_was_reached_stays_reached(clock: Clock) -> None:
    budget = Budget(Limits(deadline_s=10), clock)
    clock.now += 10
    first = str(budget.stops())
    budget.commit(0)
    assert str(budget.stops()) == first


@pytest.mark.parametrize(
    ("gpus", "worker", "gpu", "said"),
    [
        (0.0, None, None, "--max-cost needs --price-worker-hour, because"),
        (0.25, None, None, "--max-cost needs --price-worker-hour and --price-gpu-hour"),
        (0.25, 0.2, None, "--max-cost needs --price-gpu-hour"),
        (0.25, None, 2.0, "--price-gpu-hour needs --price-worker-hour"),
    ],
)
def test_a_budget_needs_all_prices(gpus: float, worker: float | None, gpu: float | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Limits.of(EngineConfig(num_gpus=gpus), None, 300.0, worker, gpu)
    assert said in str(caught.value)


def test_a_worker_costs_its_share_of_a_gpu() -> None:
    limits = Limits.of(EngineConfig(num_gpus=0.25), 60.0, 300.0, 0.2, 2.0)
    assert limits == Limits(60.0, 300.0, 0.7)
    assert Limits.of(EngineConfig(num_gpus=0.25), None, None, 0.2, None).worker_hour == 0.2
    assert Limits.of(EngineConfig(), None, None, None, None) == Limits()
