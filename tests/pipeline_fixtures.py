"""Runs in this process: small datasets, a processor without Ray, a storage that records changes and dies."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from releases import RUN_KEY

from anon_batch.config import JobConfig, StorageConfig, load_job
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult
from anon_batch.release.verify import Verification, verify
from anon_batch.shards import first_round, pending
from anon_batch.storage import Storage, join

FACES = pa.list_(pa.struct([*((n, pa.float32()) for n in ("x1", "y1", "x2", "y2")), ("ignore", pa.bool_())]))
BOX = {"x1": 4.0, "y1": 4.0, "x2": 12.0, "y2": 12.0, "ignore": False}


def image_bytes(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (24, 20)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 200, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_dataset(base: str, ids: list[str], extra: dict[str, pa.Array] | None = None, **columns: pa.Array) -> str:
    """Write an image for each id, every second one with a face; return the manifest's address. `columns` replace columns."""
    storage = Storage()
    for index, image_id in enumerate(ids):
        storage.put(join(base, f"src/{image_id}"), image_bytes(index))
    table = {
        "image_id": pa.array(ids),
        "uri": pa.array([join(base, f"src/{image_id}") for image_id in ids]),
        "faces": pa.array([[BOX] if index % 2 == 0 else [] for index in range(len(ids))], FACES),
        **columns,
        **(extra or {}),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    storage.put(join(base, "m.parquet"), buffer.getvalue())
    storage.put(join(base, "key"), RUN_KEY)
    return join(base, "m.parquet")


def job(base: str, output: str = "out", **overrides: Any) -> JobConfig:
    keys = {
        "manifest": join(base, "m.parquet"),
        "output": join(base, output),
        "run_key_file": join(base, "key"),
        "detect.detectors": ["manifest"],
        "anonymize.face.method": "solid",
        "engine.shard_rows": 4,
        "engine.io_threads": 2,
        "storage.retries": 0,
        "storage.retry_for_s": 0,
        "storage.retry_wait_s": 0,
    }
    return load_job(None, {**keys, **{k.replace("__", "."): v for k, v in overrides.items()}})


def process_all(run: Run) -> None:
    """Process all shards in this process, as a driver would; every shard must succeed."""
    processor = ShardProcessor(run)
    for spec in pending(run.plan.total, run.plan.shard_rows, run.release.parts(), (), run.plan.cuts):
        result = processor.process(spec)
        assert result.outcome in ("committed", "already_committed"), result.error


def release(config: JobConfig) -> Run:
    run, _ = open_run(config, ())
    process_all(run)
    finalize(run)
    return run


def verdict(run: Run, *, with_ledger: bool = True) -> Verification:
    """Verify with a new storage, which has read nothing before."""
    run = on_storage(run, Storage(StorageConfig(retries=0, retry_for_s=0)))
    for result in verify(run.release, run.ledger if with_ledger else None):
        last = result
    return last


def shards(run: Run) -> list[Any]:
    return list(first_round(run.plan.total, run.plan.shard_rows, run.plan.cuts))


class Silent:
    """A reporter that prints nothing."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


class Killed(BaseException):
    """Act like SIGKILL: no handler of the package catches it."""


class DyingStorage(Storage):
    """Record every change, and die before or after the `dies_at`-th; once dead, raise at every call."""

    def __init__(self, config: StorageConfig | None = None, dies_at: int | None = None, *, after: bool = False) -> None:
        super().__init__(config)
        self.dies_at = dies_at
        self.after = after
        self.dead = False
        self.changes: list[tuple[str, str]] = []
        self._changing = threading.Lock()

    def _change(self, kind: str, uri: str, act: Callable[[], None]) -> None:
        with self._changing:
            if self.dead:
                raise Killed
            self.changes.append((kind, uri))
            if len(self.changes) == self.dies_at:
                self.dead = True
                if self.after:
                    act()
                raise Killed
            act()

    def put(self, uri: str, data: bytes) -> None:
        self._change("put", uri, lambda: Storage.put(self, uri, data))

    def put_if_absent(self, uri: str, data: bytes) -> None:
        self._change("create", uri, lambda: Storage.put_if_absent(self, uri, data))

    def delete(self, uri: str) -> None:
        self._change("delete", uri, lambda: Storage.delete(self, uri))

    def delete_many(self, base: str, keys: Iterable[str]) -> None:
        for key in keys:  # each may be the last that is done
            self.delete(join(base, key))

    def read(self, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        if self.dead:
            raise Killed
        return super().read(uri, offset, length)


def on_storage(run: Run, storage: Storage) -> Run:
    """Return the run with all its reads and writes going through `storage`."""
    return dataclasses.replace(run, release=Release(storage, run.release.uri), ledger=Ledger(storage, run.ledger.uri))


def places(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    yield f"memory://{tmp_path.name}"
