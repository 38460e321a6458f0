"""Signals that arrive while Ray starts end the command as the documentation says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import ray

from anon_batch.cluster import ray_cluster
from anon_batch.config import EngineConfig
from anon_batch.errors import AnonBatchError
from anon_batch.process import stoppable


def _start(monkeypatch: pytest.MonkeyPatch, init: Callable[[], None]) -> None:
    """Connect with another `ray.init`, then send SIGTERM."""
    called: list[str] = []

    def note(**_: Any) -> None:
        called.append("init")
        init()

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", note)
    monkeypatch.setattr(ray, "shutdown", lambda: called.append("shutdown"))
    try:
        with stoppable("; run the same command again"), ray_cluster.connected(EngineConfig(), print):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
    finally:
        assert called == ["init", "shutdown"]


def _exits_like_ray(number: int, _: Any) -> None:
    sys.exit(number)


@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_while_ray_starts(monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, exit_code: int) -> None:
    def init() -> None:
        signal.signal(signal.SIGTERM, _exits_like_ray)
        os.kill(os.getpid(), sent)
        time.sleep(5)
        pytest.fail("the signal did not end `init`")

    before, install = signal.getsignal(signal.SIGTERM), signal.signal
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(AnonBatchError, match="run the same command again") as caught:
            _start(monkeypatch, init)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert caught.value.exit_code == exit_code
    assert signal.signal is install
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_after_ray_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        signal.signal(signal.SIGTERM, _exits_like_ray)

    with pytest.raises(AnonBatchError) as caught:
        _start(monkeypatch, init)
    assert caught.value.exit_code == 75


def test_other_signals_are_installed_as_ray_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        signal.signal(signal.SIGUSR2, _exits_like_ray)

    previous = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(AnonBatchError):
            _start(monkeypatch, init)
        assert signal.getsignal(signal.SIGUSR2) is _exits_like_ray
    finally:
        signal.signal(signal.SIGUSR2, previous)
