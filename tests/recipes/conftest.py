"""Where recipes run: on a Ray cluster, or in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pipeline_fixtures import process_all
from recipes.cloud import Cloud
from recipes.commands import call
from servers import S3Server, free_ports, ray_cluster

from anon_batch.cluster import driver
from anon_batch.manifest.expect import known

# What `--expect` knows of a dataset, as its miniature has it.
_MINIATURES: dict[str, dict[str, Any]] = {
    "imagenet-1k-train": {"total": 9, "classes": 3, "per_class": (3, 3)},
    "imagenet-1k-val": {"total": 6},
    "coco-2017-train": {"total": 3},
    "coco-2017-val": {"total": 4},
    "wider-face-val": {"total": 4},
}


@pytest.fixture(autouse=True)
def miniatures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, changes in _MINIATURES.items():
        monkeypatch.setitem(known.DATASETS, name, dataclasses.replace(known.DATASETS[name], **changes))


@pytest.fixture(scope="package")
def cloud(moto: S3Server) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in moto.env.items():
            patch.setenv(key, value)
        with ray_cluster(num_cpus=2, metrics_port=free_ports(1)[0]) as address:
            yield Cloud(moto, address)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Execute commands in this process, `run` without Ray and with `solid` on the manifest's boxes, which takes no network."""

    monkeypatch.setattr(driver, "process_shards", lambda run, *_, **__: process_all(run))
    quick = ["--method", "solid", "--detector", "manifest"]
    return lambda *words: call(*words, *(quick if words[0] == "run" else ()))
