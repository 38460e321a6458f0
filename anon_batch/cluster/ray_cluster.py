"""Joining a Ray cluster, or starting Ray here, and what room it has."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError

_CONNECT_TIMEOUT_S = 10.0


def check_reachable(address: str | None) -> None:
    """Whether anything listens at `engine.address`; Ray itself would try for minutes.

    Raises:
        ConfigError: nothing does.
    """
    match = re.match(r"^(?:ray://)?(?P<host>[^:/]+):(?P<port>\d+)$", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as exc:
        raise ConfigError(f"engine.address {address!r}: no Ray cluster answers there ({exc})") from None


@contextmanager
def connected(engine: EngineConfig) -> Iterator[None]:
    """Ray for the time of a run: the cluster at `engine.address`, or one that is started here and ends with the run. A
    connection that this process already has is used as it is.

    Raises:
        ConfigError: the cluster cannot be joined.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a private dataset is reported anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own warnings are not for the job's user
    local: dict[str, Any] = {} if engine.address else {"include_dashboard": False, "num_cpus": _local_cpus(engine)}
    try:
        with _without_stderr():
            # "local" starts a Ray of our own even where the machine has one that it would join by default.
            ray.init(address=engine.address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as exc:
        raise ConfigError(f"engine.address {engine.address!r}: Ray cannot be reached ({exc})") from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupt)  # Ray has put its own, which ends in a C++ stack
        yield
    finally:
        ray.shutdown()


def worker_count(engine: EngineConfig) -> int:
    """Actors to start: `engine.workers`, or as many as the cluster, as it is now, has room for.

    Raises:
        ConfigError: no room for a single one. A cluster that is joined may grow to the workers that are asked for; a Ray
            that was started here never does.
    """
    if engine.workers is not None and engine.address is not None:
        return engine.workers
    have = ray.cluster_resources()
    wanted = {"CPU": engine.num_cpus, "GPU": engine.num_gpus, "memory": engine.memory_bytes or 0}
    room = min(have.get(name, 0) / need for name, need in wanted.items() if need)
    if room < 1:
        raise ConfigError(
            f"no room for a worker: the cluster has {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs and "
            f"{have.get('memory', 0):,.0f} bytes of memory; engine.num_cpus is {engine.num_cpus:g}, engine.num_gpus "
            f"{engine.num_gpus:g}, engine.memory_bytes {engine.memory_bytes}"
        )
    return min(engine.workers or int(room), int(room))


def _local_cpus(engine: EngineConfig) -> int | None:
    """A Ray started here offers what the asked workers reserve, even on a smaller machine; else what Ray finds."""
    return None if engine.workers is None else math.ceil(engine.workers * engine.num_cpus)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's C++ part greets on file descriptor 2; what is wrong it raises."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
