"""The arithmetic of requests, held against what a real client sends to a real server."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiobotocore.client import AioBaseClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_fixtures import BOX, FACES, job, picture
from servers import S3Server, moto_server

from anon_batch.cluster.driver import drive
from anon_batch.config import JobConfig
from anon_batch.estimate.requests import (
    LAYOUTS,
    PART_BYTES,
    Layout,
    Requests,
    Workload,
    expected_lossy_shards,
    requests_of,
    shards_count,
)
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import effective, first_round
from anon_batch.storage import Storage

PAGE = 4  # keys that the server gives for a LIST, so that a small job has several pages
KINDS = {"PutObject": "put", "ListObjectsV2": "list", "GetObject": "get", "HeadObject": "head"}
BROKEN = 5  # this row's source is no picture


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(PAGE))
        with moto_server() as running:
            yield running


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests that S3 clients of this process send, by operation."""
    counts: Counter[str] = Counter()
    call = AioBaseClient._make_api_call

    async def counted(self: Any, operation: str, parameters: Any) -> Any:
        counts[operation] += 1
        return await call(self, operation, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", counted)
    return counts


class _Silent:
    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


def _dataset(server: S3Server, rows: int) -> str:
    base, storage = f"s3://{server.new_bucket()}", Storage(server.config())
    ids = [f"d{index % 3}/{index}.png" for index in range(rows)]
    for index, image_id in enumerate(ids):
        storage.put(f"{base}/src/{image_id}", b"no picture" if index == BROKEN else picture(index))
    table = {
        "image_id": pa.array(ids),
        "uri": pa.array([f"{base}/src/{image_id}" for image_id in ids]),
        "faces": pa.array([[BOX] if index % 2 == 0 else [] for index in range(rows)], FACES),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    storage.put(f"{base}/m.parquet", buffer.getvalue())
    return base


def _run(config: JobConfig) -> None:
    """What `anon-batch run` does, with one worker in this process in place of Ray's."""
    run, _ = open_run(config, ())
    assert not list(run.release.read_metas(effective(run.release.parts())))
    processor = ShardProcessor(run)

    def dispatch(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            result = processor.process(spec)
            assert result.outcome == "committed", result.error
            yield result

    drive(run, _Silent(), dispatch)
    finalize(run)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [3, 25])
def test_the_formula_is_what_is_sent(server: S3Server, sent: Counter[str], layout: Layout, rows: int) -> None:
    base = _dataset(server, rows)
    config = job("/", write__layout=layout, engine__shard_rows=3).model_copy(
        update={
            "manifest": f"{base}/m.parquet",
            "output": f"{base}/out",
            "ledger": f"{base}/ledger",
            "run_key_file": None,
            "storage": server.config(),
        }
    )
    sent.clear()
    _run(config)
    lost = int(rows > BROKEN)
    work = Workload(rows, rows - lost, layout, 3, 1, lost, shard_file_bytes=1e4, list_page=PAGE)
    expected = requests_of(work)
    assert expected.shards > PAGE or rows == 3
    deletes = sent.pop("DeleteObjects", 0)
    assert deletes == (lost if layout == "files" else 0)
    found = {KINDS[operation]: n for operation, n in sent.items()}
    assert found == {kind: getattr(expected, kind) for kind in KINDS.values()}
    storage = Storage(server.config())
    assert len(list(storage.list(f"{base}/out"))) == expected.output_objects
    assert len(list(storage.list(f"{base}/ledger"))) == expected.ledger_objects


def test_large_shard_files_go_up_in_parts(server: S3Server, sent: Counter[str]) -> None:
    storage, bucket = Storage(server.config()), server.new_bucket()
    for size in (2 * PART_BYTES - 1, 2 * PART_BYTES, 2 * PART_BYTES + 1):
        sent.clear()
        storage.put(f"s3://{bucket}/x.tar", bytes(size))
        one = requests_of(Workload(4, 4, "webdataset", 4, shard_file_bytes=size))
        small = requests_of(Workload(4, 4, "webdataset", 4, shard_file_bytes=1))
        assert one.shards == 1
        assert one.put - small.put + 1 == sent.total(), sent


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 700))
def test_shards_are_counted_as_the_plan_makes_them(rows: int, shard_rows: int) -> None:
    assert shards_count(rows, shard_rows) == sum(1 for _ in first_round(rows, shard_rows))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 40), st.integers(1, 12), st.sampled_from(LAYOUTS))
def test_lists_grow_with_the_shards_and_no_faster(rows: int, page: int, shard_rows: int, layout: Layout) -> None:
    work = Workload(rows, rows, layout, shard_rows, list_page=page)
    specs = list(first_round(rows, shard_rows))
    pages = max(1, -(-len(specs) // page))
    ends = 7 + 3 * pages + (1 if layout == "files" else pages) + 1
    assert requests_of(work).list == 2 * len(specs) + ends


def test_more_workers_read_more_chunks_and_no_more_than_shards_need() -> None:
    def gets(workers: int) -> int:
        return requests_of(Workload(100_000, 100_000, "files", 512, workers)).get

    shards = shards_count(100_000, 512)
    assert gets(1) == 100_000 + 13 + shards + 5
    assert gets(4) == gets(1) + 3 * 13
    assert gets(10_000) == 100_000 + 2 * shards + shards + 5


def _figures(rows: int, layout: Layout) -> Requests:
    return requests_of(Workload(rows, rows, layout, 512, 64, shard_file_bytes=512 * 110_000))


def test_figures_of_the_readme() -> None:
    """ImageNet and a billion rows; README's table has these numbers."""
    imagenet, billion = 1_281_167, 1_000_000_000
    shards = shards_count(imagenet, 512)
    assert (shards, shards_count(billion, 512)) == (2531, 1_953_154)
    assert (_figures(imagenet, "files").put, _figures(imagenet, "webdataset").put) == (1_288_923, 10_287)
    assert (_figures(billion, "files").put, _figures(billion, "webdataset").put) == (1_005_981_539, 7_934_693)
    assert (_figures(imagenet, "files").list, _figures(imagenet, "webdataset").list) == (5_080, 5_082)
    assert (_figures(billion, "files").list, _figures(billion, "webdataset").list) == (3_912_301, 3_914_254)


def test_lossy_shards() -> None:
    assert expected_lossy_shards(1000, 10, 0.0) == 0
    assert expected_lossy_shards(1000, 10, 1.0) == shards_count(1000, 10)
    half = expected_lossy_shards(100_000, 100, 0.00693)
    assert half / shards_count(100_000, 100) == pytest.approx(0.5, abs=0.01)
