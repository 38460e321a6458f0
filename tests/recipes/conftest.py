"""Where recipes run: on a Ray cluster, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pipeline_fixtures import process_all
from recipes.cloud import Cloud
from recipes.commands import call
from servers import S3Server, ray_cluster

from anon_batch.cluster import driver


@pytest.fixture(scope="package")
def cloud(moto: S3Server) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in moto.env.items():
            patch.setenv(key, value)
        with ray_cluster(num_cpus=2) as address:
            yield Cloud(moto, address)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Execute commands in this process, `run` without Ray and with `solid` on the manifest's boxes, which takes no network."""

    monkeypatch.setattr(driver, "process_shards", lambda run, *_, **__: process_all(run))
    quick = ["--method", "solid", "--detector", "manifest"]
    return lambda *words: call(*words, *(quick if words[0] == "run" else ()))
