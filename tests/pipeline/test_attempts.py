"""What markers of attempts cost on S3, and that they are counted in whatever order of folders a store lists them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faultproxy import FaultProxy
from servers import S3Server

from anon_batch.errors import StorageError
from anon_batch.formats import layout
from anon_batch.pipeline import attempts
from anon_batch.records import ShardSpec
from anon_batch.storage import ObjectInfo, Storage, join

SHARDS = 40


def _lists(proxy: FaultProxy) -> int:
    return sum("list-type=2" in path for _, path, _ in proxy.log)


def test_a_shards_first_attempt_costs_one_list_and_all_attempts_one_a_page(moto: S3Server) -> None:
    ledger = f"s3://{moto.new_bucket()}/ledger"
    specs = [ShardSpec(start, 8) for start in range(0, 8 * SHARDS, 8)]
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = Storage(moto.config(options={"s3://": {**moto.options, "endpoint_url": proxy.url}}))
        for spec in specs:
            assert attempts.begin(storage, ledger, spec, "a", 2) == "a-1"
        assert [asked for asked, *_ in proxy.log] == ["GET", "PUT"] * SHARDS
        assert _lists(proxy) == SHARDS
        assert attempts.begin(storage, ledger, specs[3], "a", 2) == "a-2"
        proxy.log.clear()
        assert attempts.begun(storage, ledger, "a", 2) == (SHARDS + 1, {specs[3]})
        assert _lists(proxy) == len(proxy.log) == 1


class _Lists(Storage):
    """A store that lists these keys."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self._keys = keys

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        assert uri == join("ledger", layout.LEDGER_ATTEMPTS)
        return (ObjectInfo(key, 1) for key in self._keys)


def test_shards_whose_names_begin_alike_are_told_apart() -> None:
    keys = ["0000000000-5/a-1", "0000000000-5/a-2", "0000000000-512/a-1", "0000000008-4/a-1", "0000000008-4/b-1", "x/y"]
    assert attempts.begun(_Lists(keys), "ledger", "a", 2) == (5, {ShardSpec(0, 5)})
    assert attempts.begun(_Lists([]), "ledger", "a", 2) == (0, set())


def test_a_store_that_lists_a_shards_markers_apart_is_refused() -> None:
    keys = ["0000000000-5/a-1", "0000000008-4/a-1", "0000000000-5/a-2"]
    with pytest.raises(StorageError, match="out of order"):
        attempts.begun(_Lists(keys), "ledger", "a", 2)
