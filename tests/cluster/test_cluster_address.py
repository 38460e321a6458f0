"""Which cluster a job joins, and how many workers fit into it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
import ray

from anon_batch.cluster import ray_cluster, room
from anon_batch.cluster.ray_cluster import cluster_address
from anon_batch.config import EngineConfig
from anon_batch.errors import ConfigError

GB = 1e9
SMALL: Mapping[str, float] = {"CPU": 4, "memory": 8 * GB}
HEAD: Mapping[str, float] = {"memory": 8 * GB}
GPU: Mapping[str, float] = {"CPU": 8, "GPU": 1, "memory": 32 * GB}


@pytest.mark.parametrize(
    ("address", "variable", "joined"),
    [
        (None, None, None),
        (None, "", None),
        (None, "10.0.0.5:6379", "10.0.0.5:6379"),
        (None, "ray://h:10001", "ray://h:10001"),
        (None, "auto", "auto"),
        (None, "local", None),
        ("local", "10.0.0.5:6379", None),
        ("local", None, None),
        ("auto", None, "auto"),
        ("auto", "10.0.0.5:6379", "10.0.0.5:6379"),
        ("h:6379", "10.0.0.5:6379", "h:6379"),
    ],
)
def test_a_job_joins_the_cluster_that_it_or_its_environment_names(
    monkeypatch: pytest.MonkeyPatch, address: str | None, variable: str | None, joined: str | None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster_address(EngineConfig(address=address)) == joined


@pytest.mark.parametrize(
    ("address", "variable", "named"),
    [
        (None, "http://u:secret@h:8265", "RAY_ADDRESS 'http://***@h:8265'"),
        ("auto", "HTTPS://h", "RAY_ADDRESS 'HTTPS://h'"),
        ("http://h:8265", "", "engine.address 'http://h:8265'"),
    ],
)
def test_the_address_of_the_job_api_is_refused_with_both_choices(
    monkeypatch: pytest.MonkeyPatch, address: str | None, variable: str, named: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(ConfigError) as caught:
        ray_cluster.check_reachable(EngineConfig(address=address))
    assert named in str(caught.value)
    assert "anon-batch submit" in str(caught.value)
    assert "local" in str(caught.value)


def test_a_dead_address_names_the_variable_that_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS '127.0.0.1:1': no Ray cluster answers"):
        ray_cluster.check_reachable(EngineConfig())
    with pytest.raises(ConfigError, match=r"engine.address '127.0.0.1:99999': no Ray cluster answers"):
        ray_cluster.check_reachable(EngineConfig(address="127.0.0.1:99999"))


def test_auto_without_ray_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    def none_runs(_: object) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", none_runs)
    with pytest.raises(ConfigError, match=r"engine.address 'auto': no Ray runs on this machine"):
        ray_cluster.check_reachable(EngineConfig(address="auto"))


@pytest.mark.parametrize(("address", "notes"), [(None, 1), ("h:6379", 0), ("local", 0)])
def test_joining_a_cluster_that_the_job_does_not_name_is_said(
    monkeypatch: pytest.MonkeyPatch, address: str | None, notes: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **given: started.append(given))
    said: list[str] = []
    with ray_cluster.connected(EngineConfig(address=address, workers=2), said.append) as joined:
        assert joined == (None if address == "local" else address or "10.0.0.5:6379")
    assert started[0]["address"] == (joined or "local")
    assert ("num_cpus" in started[0]) == (address == "local")
    assert len(said) == notes
    assert all("RAY_ADDRESS" in text and "engine.address: local" in text for text in said)


@pytest.mark.parametrize(
    ("engine", "nodes", "fits"),
    [
        ({}, [SMALL, SMALL], 8),
        ({"num_cpus": 3}, [SMALL, SMALL], 2),  # not 8 CPUs / 3
        ({"num_cpus": 5}, [SMALL, SMALL], 0),
        ({"num_cpus": 0.1}, [{"CPU": 0.3}], 3),
        ({}, [HEAD], 0),
        ({"num_gpus": 0.25}, [SMALL, GPU], 4),
        ({"num_gpus": 0.25, "num_cpus": 4}, [SMALL, GPU], 2),
        ({"memory_bytes": 3_000_000_000}, [SMALL, GPU], 2 + 8),
        ({}, [], 0),
    ],
)
def test_workers_fit_into_single_nodes(engine: dict[str, Any], nodes: list[Mapping[str, float]], fits: int) -> None:
    assert room.room_for(EngineConfig(**engine), nodes) == fits


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, float]]:
    """Resources of the nodes of a cluster that is made up."""
    nodes: list[Mapping[str, float]] = []
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": True, "Resources": n} for n in nodes] + [{"Alive": False, "Resources": GPU}]
    )
    monkeypatch.setattr(room, "_most", lambda: None)
    return nodes


def test_as_many_workers_as_fit_are_started(cluster: list[Mapping[str, float]]) -> None:
    cluster += [HEAD, SMALL, SMALL]
    for joined in (True, False):
        assert room.worker_count(EngineConfig(), joined=joined, note=pytest.fail) == 8
    assert room.worker_count(EngineConfig(workers=20), joined=False, note=pytest.fail) == 8
    assert room.worker_count(EngineConfig(workers=8), joined=True, note=pytest.fail) == 8


def test_no_room_is_an_error_that_names_nodes_and_needs(cluster: list[Mapping[str, float]]) -> None:
    cluster += [SMALL, SMALL]
    with pytest.raises(ConfigError) as caught:
        room.worker_count(EngineConfig(num_cpus=5), joined=True, note=print)
    assert "the cluster's 2 nodes hold 4 CPUs, 0 GPUs, 8,000,000,000 bytes of memory" in str(caught.value)
    assert "engine.num_cpus is 5" in str(caught.value)


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (None, "has room for 8 now; the others join when it grows"),
        ({"CPU": 12.0}, "it never grows to more than 12 workers"),
        ({"CPU": 4000.0}, "the others join when it has grown"),
        ({"CPU": float(sys.maxsize)}, "the others join when it has grown"),
    ],
)
def test_workers_that_do_not_fit_are_named(
    monkeypatch: pytest.MonkeyPatch, cluster: list[Mapping[str, float]], most: Any, said: str
) -> None:
    cluster += [SMALL, SMALL]
    monkeypatch.setattr(room, "_most", lambda: most)
    notes: list[str] = []
    assert room.worker_count(EngineConfig(workers=20), joined=True, note=notes.append) == 20
    assert len(notes) == 1
    assert notes[0].startswith("engine.workers is 20, and the cluster has room for 8 now")
    assert said in notes[0]
