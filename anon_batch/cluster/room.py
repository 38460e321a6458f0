"""Computes how many workers fit into a Ray cluster, and says what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import ray

from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError
from anon_batch.units import format_counted

_ROUNDING = 1e-9  # because 0.3 CPUs hold three workers of 0.1


def worker_count(engine: EngineConfig, *, joined: bool, note: Callable[[str], None]) -> int:
    """Return the number of actors to start: `engine.workers`, or as many as fit into the cluster as it is now.

    Args:
        engine: workers, and what each reserves.
        joined: whether the cluster is not this process's own, so that it may grow to `engine.workers`.
        note: hears of workers that do not fit.

    Raises:
        ConfigError: not even one worker fits, and nothing says that the cluster will grow.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = room_for(engine, nodes)
    if engine.workers is not None and joined:
        if room < engine.workers:
            note(_too_many(engine, room, _most()))
        return engine.workers
    if room < 1:
        raise ConfigError(f"not even one worker fits: {_nodes_hold(nodes)}; {_one_reserves(engine)}")
    return min(engine.workers or room, room)


def describe_cluster() -> str:
    """Return e.g. `Ray 2.60.0: 3 nodes, 96 CPUs, 8 GPUs` of the cluster that this process is connected to."""
    have, nodes = ray.cluster_resources(), sum(bool(node["Alive"]) for node in ray.nodes())
    return f"Ray {ray.__version__}: {format_counted(nodes, 'node')}, {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"


def room_for(engine: EngineConfig, nodes: Iterable[Mapping[str, float]]) -> int:
    """Return how many workers fit into nodes with these resources, each worker into one of them."""
    needs = {"CPU": engine.num_cpus, "GPU": engine.num_gpus, "memory": float(engine.memory_bytes or 0)}
    return sum(int(min(node.get(name, 0) / need for name, need in needs.items() if need) + _ROUNDING) for node in nodes)


def _most() -> Mapping[str, float] | None:
    """Return what the cluster can grow to, by its autoscaler; None if it has none, or does not say."""
    with suppress(Exception):  # because Ray keeps this call to itself, so that a version may lack it
        from ray._private.state import state

        found: Mapping[str, float] | None = state.get_max_resources_from_cluster_config()
        return found
    return None


def _too_many(engine: EngineConfig, room: int, most: Mapping[str, float] | None) -> str:
    wanted = f"engine.workers is {engine.workers:,}, and the cluster has room for {room:,} now"
    if most is None:
        return f"{wanted}; the others join when it grows ({_one_reserves(engine)})"
    if (limit := room_for(engine, [most])) < (engine.workers or 0):
        return f"{wanted}; it never grows to more than {format_counted(limit, 'worker')} ({_one_reserves(engine)})"
    return f"{wanted}; the others join when it has grown"


def _nodes_hold(nodes: list[Mapping[str, float]]) -> str:
    held = sorted({(node.get("CPU", 0), node.get("GPU", 0), node.get("memory", 0)) for node in nodes}, reverse=True)
    shown = "; ".join(f"{cpus:g} CPUs, {gpus:g} GPUs, {memory:,.0f} bytes of memory" for cpus, gpus, memory in held[:4])
    return f"the cluster's {format_counted(len(nodes), 'node')} hold {shown}"


def _one_reserves(engine: EngineConfig) -> str:
    return (
        f"engine.num_cpus is {engine.num_cpus:g}, engine.num_gpus {engine.num_gpus:g}, "
        f"engine.memory_bytes {engine.memory_bytes}"
    )
