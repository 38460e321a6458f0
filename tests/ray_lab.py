"""A cluster of Ray, a data set in a bucket, and a laptop's release of it, which every release of the cluster must equal."""

from __future__ import annotations

import io
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from misbehaving_plugin import SLOW
from ray_nodes import Nodes
from relay import Relay
from releases import (
    RUN_KEY,
    command,
    environment,
    make_images,
    make_manifest,
    parts_count,
    release_of,
    run_cli,
    wait_until,
)
from servers import S3Server

from anon_batch.storage import Storage

ROWS, SHARD_ROWS = 60, 4
SHARDS = ROWS // SHARD_ROWS


class Lab:
    """A cluster, a data set in a bucket, and the laptop's release of it.

    Args:
        nodes: the cluster.
        store: as this process reaches it.
        folder: for logs and job files.
        way: leads from the nodes to a store that is not their own.
    """

    def __init__(self, nodes: Nodes, store: S3Server, folder: Path, way: Relay | None = None) -> None:
        self.nodes, self.folder, self._way = nodes, folder, way
        self._server, self.bucket = store, f"s3://{store.new_bucket()}"
        self.store = Storage(store.config())
        self.key = folder / "run.key"
        self.key.write_bytes(RUN_KEY)
        self._write_dataset()
        self.laptop = self._run_on_laptop()

    def _write_dataset(self) -> None:
        images = self.folder / "images"
        make_images(images, ROWS, dict.fromkeys(range(ROWS), SLOW))
        make_manifest(images, str(self.folder / "m.parquet"))
        table = pq.read_table(self.folder / "m.parquet")
        uris = []
        for path in map(Path, table["uri"].to_pylist()):
            uris.append(f"{self.bucket}/{path.relative_to(images)}")
            self.store.put(uris[-1], path.read_bytes())
        buffer = io.BytesIO()
        pq.write_table(table.set_column(table.schema.get_field_index("uri"), "uri", [uris]), buffer)
        self.store.put(f"{self.bucket}/m.parquet", buffer.getvalue())

    def job(self, name: str, **engine: Any) -> Path:
        """Write the job file of a release; return its path."""
        job: dict[str, Any] = {
            "manifest": f"{self.bucket}/m.parquet",
            "output": self.output(name),
            "run_key_file": str(self.key),
            "detect": {"detectors": ["misbehaving"]},
            "anonymize": {"face": {"method": "solid"}},
            "engine": {"workers": 3, "shard_rows": SHARD_ROWS, **engine},
            "storage": {"retry_wait_s": 0.1},
        }
        if self._way is not None and name != "laptop":
            job["storage"]["options"] = {"s3://": {**self._server.options, "endpoint_url": self._way.url}}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job))
        return path

    def output(self, name: str) -> str:
        return f"{self.bucket}/{name}"

    def committed(self, name: str) -> int:
        return parts_count(self.store, self.output(name))

    def wait_for_commits(self, name: str, count: int) -> None:
        wait_until(lambda: self.committed(name) >= count, f"{count} commits of {name}, see {self.folder}")

    def check(self, name: str) -> None:
        """Check that a release is the laptop's, and whole."""
        assert release_of(self.store, self.output(name)) == self.laptop
        verdict = run_cli("verify", self.output(name), env=self._server.env)
        assert verdict.returncode == 0, verdict.stdout + verdict.stderr

    def _run_on_laptop(self) -> dict[str, Any]:
        job = self.job("laptop")
        done = run_cli("run", str(job), "--address", "local", "--set", "engine.workers=2", env=self._server.env)
        assert done.returncode == 0, done.stderr
        return release_of(self.store, self.output("laptop"))

    def drive(self, name: str, **engine: Any) -> Driver:
        """Start `run` on the head's machine."""
        log = self.folder / f"{name}.log"
        engine = {"address": self.nodes.address, **engine}
        return Driver(self.nodes.driver("run", str(self.job(name, **engine)), log=log), log)

    def submit(self, name: str, *more: str, log: str = "") -> Driver:
        """Start `submit` in this process's network, through the relay to the job server."""
        path = self.folder / f"{log or name}.log"
        given = command("submit", str(self.job(name)), "--address", self.nodes.api.url, "--shared-mount", *more)
        token = {key: value for key, value in self.nodes.env.items() if key.startswith("RAY_")}
        with path.open("ab") as file:
            process = subprocess.Popen(
                given,
                env=environment({**self._server.env, **token}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        return Driver(process, path)

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return what the job server knows of the jobs whose driver printed this release's address."""
        jobs = [job for job in self.nodes.call("get", "/api/jobs/") if job["submission_id"]]
        return [job for job in jobs if self.output(name) in self.job_log(job["submission_id"])]

    def job_log(self, submission_id: str) -> str:
        return str(self.nodes.call("get", f"/api/jobs/{submission_id}/logs")["logs"])


class Driver:
    """A command that runs, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def wait(self, timeout_s: float = 180) -> int:
        return self.process.wait(timeout_s)

    def said(self) -> str:
        return self.log.read_text(errors="replace")
