"""Joins a Ray cluster or starts one on this machine, and computes how many workers fit."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray

from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError

_CONNECT_TIMEOUT_S = 10.0


def check_reachable(address: str | None) -> None:
    """Check that something listens at `engine.address`, because Ray itself would retry for minutes.

    Raises:
        ConfigError: the connection failed.
    """
    match = re.match(r"^(?:ray://)?(?P<host>[^:/]+):(?P<port>\d+)$", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as exc:
        raise ConfigError(f"engine.address {address!r}: no Ray cluster answers ({exc})") from None


@contextmanager
def connected(engine: EngineConfig) -> Iterator[None]:
    """Connect to Ray for the duration of the block: to the cluster at `engine.address`, or to a local one that ends with it.

    An existing connection of this process is used and left open.

    Raises:
        ConfigError: the cluster cannot be joined.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # report nothing about a private dataset
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # hide Ray's internal warnings
    _start(engine)
    try:
        yield
    finally:
        ray.shutdown()


def _start(engine: EngineConfig) -> None:
    local: dict[str, Any] = {} if engine.address else {"include_dashboard": False, "num_cpus": _local_cpus(engine)}
    try:
        with _without_stderr(), _own_sigterm_handler():
            # "local", because None would join a cluster that already runs on this machine.
            ray.init(address=engine.address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as exc:
        raise ConfigError(f"engine.address {engine.address!r}: Ray cannot be reached ({exc})") from None
    except BaseException:
        with suppress(Exception):  # because Ray may have started in part
            ray.shutdown()
        raise


def worker_count(engine: EngineConfig) -> int:
    """Return the number of actors to start: `engine.workers`, or as many as fit into the cluster as it is now.

    A cluster that was joined may grow to `engine.workers`; one that was started here does not.

    Raises:
        ConfigError: not even one worker fits.
    """
    if engine.workers is not None and engine.address is not None:
        return engine.workers
    have = ray.cluster_resources()
    wanted = {"CPU": engine.num_cpus, "GPU": engine.num_gpus, "memory": engine.memory_bytes or 0}
    room = min(have.get(name, 0) / need for name, need in wanted.items() if need)
    if room < 1:
        raise ConfigError(
            f"not even one worker fits: the cluster has {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs and "
            f"{have.get('memory', 0):,.0f} bytes of memory; engine.num_cpus is {engine.num_cpus:g}, engine.num_gpus "
            f"{engine.num_gpus:g}, engine.memory_bytes {engine.memory_bytes}"
        )
    return min(engine.workers or int(room), int(room))


def _local_cpus(engine: EngineConfig) -> int | None:
    """Return the CPUs of a local cluster: what `engine.workers` reserve, even on a smaller machine; None for all of them."""
    return None if engine.workers is None else math.ceil(engine.workers * engine.num_cpus)


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM in the block, because Ray's handlers end the process without a message.

    Ray installs a handler in Python when it starts to connect, and one in C++, which prints a stack, when it is connected.
    The latter is replaced when the block ends: for the last third of a second of the start, SIGTERM may still reach it.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread can install a handler
        yield
        return
    own, install = signal.getsignal(signal.SIGTERM), signal.signal

    def install_others(number: int, handler: Any) -> Any:
        return own if number == signal.SIGTERM else install(number, handler)

    signal.signal = install_others  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = install
        install(signal.SIGTERM, own)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Silence file descriptor 2, because Ray's C++ code prints there; errors are raised anyway."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
