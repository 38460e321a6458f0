"""Joins a Ray cluster or starts one on this machine."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import ray
from ray.exceptions import RayError

from anon_batch.cluster import ray_token
from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError
from anon_batch.redaction import redact, redact_address

AUTO, LOCAL = "auto", "local"
_ADDRESS = "RAY_ADDRESS"  # Ray sets it in the jobs of a cluster
_CONNECT_TIMEOUT_S = 10.0


def cluster_address(engine: EngineConfig) -> str | None:
    """Return the address of the cluster to join: `engine.address`, or that of RAY_ADDRESS; None to start Ray on this machine.

    Raises:
        ConfigError: the address is not that of a cluster but of its job API.
    """
    given = (engine.address in (None, AUTO) and os.environ.get(_ADDRESS)) or engine.address
    if re.match(r"https?://", given or "", re.I):
        raise ConfigError(
            f"{_named(engine, given or '')} is Ray's job API, and workers cannot be started there: send the job to it "
            "with `anon-batch submit`, name the cluster (`auto`, `HOST:6379`), or set engine.address to `local` to run on this "
            "machine"
        )
    return None if given in (None, LOCAL) else given


def check_reachable(engine: EngineConfig) -> None:
    """Check that the cluster to join answers and takes this process's token, because Ray itself would retry for long.

    Raises:
        ConfigError: it does not.
    """
    address = cluster_address(engine)
    place = _found_here() if address == AUTO else address
    match = re.match(r"^(?:ray://)?(?P<host>[^:/]+):(?P<port>\d+)$", place or "")
    if place is None or match is None:
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as exc:  # a port above 65,535
        raise ConfigError(f"{_named(engine, address or AUTO)}: no Ray cluster answers ({exc})") from None
    ray_token.check_token(place, here=address == AUTO)


def _found_here() -> str | None:
    """Return the address of the Ray that `auto` means; None if Ray does not tell.

    Raises:
        ConfigError: none runs on this machine.
    """
    try:
        from ray._private.services import canonicalize_bootstrap_address

        return str(canonicalize_bootstrap_address(AUTO))
    except ConnectionError:
        raise ConfigError(
            f"engine.address {AUTO!r}: no Ray runs on this machine; name the cluster (`HOST:6379`), or leave the address out"
        ) from None
    except Exception:  # because Ray keeps this function to itself, so that a version may lack it
        return None


@contextmanager
def connected(engine: EngineConfig, note: Callable[[str], None]) -> Iterator[str | None]:
    """Connect to Ray for the duration of the block: to the cluster of `cluster_address`, or to a local one that ends with it.

    An existing connection of this process is used and left open.

    Args:
        engine: address, and for a local cluster the workers that it must hold.
        note: hears of a cluster that the job does not name.

    Yields:
        The cluster's address; None if it is local.

    Raises:
        ConfigError: the cluster cannot be joined or started.
    """
    address = cluster_address(engine)
    if ray.is_initialized():
        yield address
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # report nothing about a private dataset
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # hide Ray's internal warnings
    if address is not None and engine.address is None:
        note(
            f"joins the Ray cluster at {address}, which {_ADDRESS} names; engine.address: {LOCAL} starts Ray on this machine"
        )
    if address is not None:  # a driver alone has no use for a handler of signals that prints a stack and ends it
        os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    with ray_token.private_token() if address is None else nullcontext():
        _start(address, engine)
        try:
            yield address
        finally:
            with _own_sigterm_handler():
                ray.shutdown()


def _start(address: str | None, engine: EngineConfig) -> None:
    local: dict[str, Any] = {} if address else {"include_dashboard": False, "num_cpus": _local_cpus(engine)}
    try:
        with _without_stderr(), _own_sigterm_handler():
            # "local", because None would join a cluster that already runs on this machine.
            ray.init(address=address or LOCAL, logging_level=logging.ERROR, log_to_driver=False, **local)
    except (OSError, RuntimeError, ValueError, RayError) as exc:
        with suppress(Exception):
            ray.shutdown()
        raise _cannot_start(address, engine, exc) from None
    except BaseException:
        with suppress(Exception):  # because Ray may have started in part
            ray.shutdown()
        raise


def _named(engine: EngineConfig, address: str) -> str:
    return f"{'engine.address' if engine.address == address else _ADDRESS} {redact_address(address)!r}"


def _cannot_start(address: str | None, engine: EngineConfig, exc: Exception) -> ConfigError:
    said = next(iter(redact(str(exc)).strip().splitlines()), "") or type(exc).__name__
    if address is None:
        return ConfigError(f"Ray cannot be started on this machine ({said})")
    if ray_token.is_about_token(exc):
        return ray_token.refused(address, sent=ray_token.own_token(here=address == AUTO) is not None)
    return ConfigError(f"{_named(engine, address)}: Ray cannot be reached ({said})")


def _local_cpus(engine: EngineConfig) -> int | None:
    """Return the CPUs of a local cluster: what `engine.workers` reserve, even on a smaller machine; None for all of them."""
    return None if engine.workers is None else math.ceil(engine.workers * engine.num_cpus)


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM in the block, because Ray's handlers end the process without a message.

    Ray installs a handler in Python when it starts to connect, and one in C++, which prints a stack, when it has started a
    cluster. The latter is replaced when the block ends: for the last third of a second of that start, SIGTERM may still reach
    it. When it disconnects, it takes away all handlers in C++.
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
