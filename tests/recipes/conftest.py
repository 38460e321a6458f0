"""Where recipes run: an S3 server, whose address the environment names, and a Ray cluster that knows it; or this process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from recipes.commands import Made, call, download, make, upload
from releases import command, environment
from servers import S3Server, ray_cluster


@dataclass(frozen=True)
class Cloud:
    """An S3 server and the address of a Ray cluster, for recipes as they are written."""

    server: S3Server
    ray_address: str

    def make(self, name: str, folder: Path, replaced: dict[str, str] | None = None) -> Made:
        """Execute a recipe; `folder` holds a folder for each bucket, and what the recipe expects beside `jobs/`."""

        def run(*words: str) -> str:
            added = ["--address", self.ray_address] if words[0] == "run" else []
            done = subprocess.run(
                command(*words, *added), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
            return done.stdout + done.stderr

        with self.server.client() as client:
            upload(client, folder)
            made = make(name, folder, run, replaced)
            download(client, folder)
        return made


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
    from pipeline_fixtures import release as process

    from anon_batch.cluster import driver
    from anon_batch.config import JobConfig

    def run_job(config: JobConfig, *_: object) -> driver.RunSummary:
        from anon_batch.pipeline.finalize import finalize

        run = process(config)
        stats, gates = finalize(run)
        return driver.RunSummary(run, stats, gates, 0.0)

    monkeypatch.setattr(driver, "run_job", run_job)
    quick = ["--method", "solid", "--detector", "manifest"]
    return lambda *words: call(*words, *(quick if words[0] == "run" else ()))
