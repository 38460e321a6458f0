"""Counted requests: as many as a real client sends, and those of a small run scale to a larger one."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiobotocore.client import AioBaseClient
from pipeline_fixtures import BOX, FACES, image_bytes, job
from servers import S3Server, moto_server

from anon_batch.config import JobConfig
from anon_batch.estimate.counting import PART_BYTES, CountingStorage, puts_of
from anon_batch.estimate.measure import measure
from anon_batch.estimate.requests import LAYOUTS, Layout, scale_requests
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.rounds import drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.shards import effective, first_round
from anon_batch.storage import Storage

PAGE = 4  # keys that the server gives for a LIST, so that a small job has several pages
KINDS = {"PutObject": "put", "ListObjectsV2": "list", "GetObject": "get", "HeadObject": "head"}
BROKEN = 5  # the source of this row is no image


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


def _write_dataset(base: str, storage: Storage, rows: int) -> None:
    """Images of which every second has a region; one cannot be decoded."""
    ids = [f"d{index % 3}/{index}.png" for index in range(rows)]
    for index, image_id in enumerate(ids):
        storage.put(f"{base}/src/{image_id}", b"no image" if index == BROKEN else image_bytes(index))
    table = {
        "image_id": pa.array(ids),
        "uri": pa.array([f"{base}/src/{image_id}" for image_id in ids]),
        "faces": pa.array([[BOX] if index % 2 == 0 else [] for index in range(rows)], FACES),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    storage.put(f"{base}/m.parquet", buffer.getvalue())


def _job(base: str, layout: Layout, shard_rows: int, **changes: Any) -> JobConfig:
    keys = {"manifest": f"{base}/m.parquet", "output": f"{base}/out", "ledger": f"{base}/ledger", "run_key_file": None}
    config = job("/", write__layout=layout, engine__shard_rows=shard_rows)
    return config.model_copy(update={**keys, **changes})


def _run(config: JobConfig, list_page_keys: int) -> CountingStorage:
    """Do what `anon-batch run` does, with one worker in this process in place of Ray's."""
    storage = CountingStorage(config.storage, config.output_uri, config.ledger_uri, list_page_keys)
    run, _ = open_run(config, (), storage)
    effective(run.release.parts())
    processor = ShardProcessor(run)

    def dispatch(specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        for spec in specs:
            result = processor.process(spec)
            assert result.outcome == "committed", result.error
            yield result

    drive(run, _Silent(), dispatch)
    finalize(run)
    return storage


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [3, 25])
def test_as_many_requests_are_counted_as_are_sent(
    server: S3Server, sent: Counter[str], layout: Layout, rows: int
) -> None:
    base, config = f"s3://{server.new_bucket()}", server.config()
    _write_dataset(base, Storage(config), rows)
    sent.clear()
    storage = _run(_job(base, layout, 3, storage=config), PAGE)
    del sent["DeleteObjects"]
    assert {KINDS[operation]: number for operation, number in sent.items()} == dict(storage.total())


@pytest.mark.parametrize("size", [2 * PART_BYTES - 1, 2 * PART_BYTES, 2 * PART_BYTES + 1])
def test_large_shard_files_go_up_in_parts(server: S3Server, sent: Counter[str], size: int) -> None:
    uri = f"s3://{server.new_bucket()}/x.tar"
    Storage(server.config()).put(uri, bytes(size))
    assert puts_of(size) == sent.total(), sent


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_small_sample_scales_to_the_whole_run(tmp_path: Any, layout: Layout) -> None:
    """Each kind differs by less than one request a shard: the sample's shards hold more rows than the run's last ones."""
    rows, shard_rows = 200, 4
    base = str(tmp_path)
    _write_dataset(base, Storage(), rows)
    config = _job(base, layout, shard_rows)
    found = measure(config, 20, lambda text: None)
    assert (found.rows, found.shards) == (20, 5)
    scaled = scale_requests(found, config, layout)
    whole = _run(config, 1000)
    total = whole.total()
    shards = len(list(first_round(rows, shard_rows)))
    assert scaled.shards == shards
    for kind in ("put", "list", "get", "head"):
        assert abs(getattr(scaled, kind) - total[kind]) < max(2, shards), kind  # type: ignore[literal-required]
        assert getattr(scaled, kind) == pytest.approx(total[kind], rel=0.05), kind
    assert scaled.output_objects == pytest.approx(len(list(Storage().list(f"{base}/out"))), abs=11)
    assert scaled.ledger_objects == len(list(Storage().list(f"{base}/ledger")))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sample_of_everything_is_exact(tmp_path: Any, layout: Layout) -> None:
    """Shards of full size alone: 40 rows are one shard, in the sample and in the run."""
    base = str(tmp_path)
    _write_dataset(base, Storage(), 4)
    config = _job(base, layout, 4)
    scaled = scale_requests(measure(config, 100, lambda text: None), config, layout)
    total = _run(config, 1000).total()
    assert {kind: getattr(scaled, kind) for kind in KINDS.values()} == dict(total)
    assert scaled.output_objects == len(list(Storage().list(f"{base}/out")))
    assert scaled.ledger_objects == len(list(Storage().list(f"{base}/ledger")))


def test_outputs_of_other_layouts_are_computed(tmp_path: Any) -> None:
    base = str(tmp_path)
    _write_dataset(base, Storage(), 40)
    config = _job(base, "files", 8)
    found = measure(config, 40, lambda text: None)
    files, tars = (scale_requests(found, config, layout) for layout in ("files", "webdataset"))
    assert files.put - tars.put == 39 - files.shards
    assert files.output_objects - tars.output_objects == 39 - files.shards
