"""The pool says how many actors hold resources, and ends when its caller says so. Ray is replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from anon_batch.cluster import pool
from anon_batch.cluster.pool import ActorPool
from anon_batch.config import EngineConfig
from anon_batch.errors import StoppedError

START_S = 7.5


class Actor:
    """Its calls are their own results."""

    def __init__(self) -> None:
        self.ready = SimpleNamespace(remote=lambda: ("ready", id(self)))
        self.process = SimpleNamespace(remote=lambda task: ("done", task))


class Ray:
    """Ray with one beat for each wait; calls end in the order in which they were made."""

    def __init__(self, silent_beats: int = 0) -> None:
        self.silent_beats = silent_beats
        self.made = self.killed = 0

    def remote(self, _: type) -> Any:
        def make(*_: Any) -> Actor:
            self.made += 1
            return Actor()

        made = SimpleNamespace(remote=make)
        return SimpleNamespace(options=lambda **_: made)

    def wait(self, calls: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        starting = [call for call in calls if call[0] == "ready"]
        if not starting and self.silent_beats:
            self.silent_beats -= 1
            return [], calls
        return (starting or calls)[:1], []

    def get(self, call: tuple[str, Any]) -> Any:
        return START_S if call[0] == "ready" else call[1]

    def kill(self, _: Actor) -> None:
        self.killed += 1


def mapped(
    monkeypatch: pytest.MonkeyPatch, ray: Ray, hold: Any, tasks: Iterable[int] = range(4), workers: int = 2
) -> Iterator[int]:
    monkeypatch.setattr(pool, "ray", ray)
    made: ActorPool[int, int] = ActorPool(
        Actor, None, EngineConfig(), workers, lambda _: None, lambda task, _: task, hold=hold
    )
    return made.map(tasks)


def test_actors_hold_resources_from_their_start_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[int, float]] = []
    assert sorted(mapped(monkeypatch, Ray(), lambda *now: held.append(now))) == [0, 1, 2, 3]
    assert held[0] == (0, 0.0), "nothing is held before the first actor has started"
    assert [now for now in held if now[1]] == [(1, START_S), (2, START_S)]
    assert held[-1] == (0, 0.0)


def test_the_pool_asks_while_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    ray = Ray(silent_beats=50)
    assert len(list(mapped(monkeypatch, ray, lambda now, _: held.append(now)))) == 4
    assert held.count(2) >= 50


def test_what_the_caller_raises_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def hold(workers: int, _: float) -> None:
        if workers == 2:
            raise StoppedError("enough")

    with pytest.raises(StoppedError, match="enough"):
        list(mapped(monkeypatch, Ray(silent_beats=10**6), hold))


def test_no_task_is_taken_before_an_actor_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(6):
            taken.append(task)
            yield task

    results = mapped(monkeypatch, Ray(), lambda *_: None, tasks(), workers=2)
    for done in range(1, 7):
        next(results)
        assert len(taken) <= done + 1, "both actors have one, and none is kept for later"
    assert list(results) == []


def test_without_a_task_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    assert list(mapped(monkeypatch, ray, lambda *_: None, [])) == []
    assert ray.made == 0


def test_all_actors_are_stopped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    assert len(list(mapped(monkeypatch, ray, lambda *_: None, range(5), workers=3))) == 5
    assert (ray.made, ray.killed) == (3, 3)


def test_idle_actors_are_stopped_while_others_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the end they hold nothing that an actor of a lost node may be waiting for."""
    ray = Ray()
    results = mapped(monkeypatch, ray, lambda *_: None, range(5), workers=3)
    for left in (4, 3, 2):
        next(results)
        assert ray.killed == 0, f"{left} tasks for 3 actors"
    next(results)
    assert ray.killed == 1
    next(results)
    assert ray.killed == 2
    assert list(results) == []
    assert ray.killed == 3
