"""Requests for the markers of attempts on S3, and counting them in the order in which a store lists them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faultproxy import FaultProxy
from servers import S3Server

from anon_batch.errors import StorageError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.pipeline.attempts import Attempt, begin_attempt, count_attempts
from anon_batch.records import ShardSpec
from anon_batch.storage import ObjectInfo, Storage, absolute, join

SHARDS = 40


def _lists(proxy: FaultProxy) -> int:
    return sum("list-type=2" in path for _, path, _ in proxy.log)


def test_a_first_attempt_takes_one_list_request_and_counting_takes_one_for_each_page(moto: S3Server) -> None:
    specs = [ShardSpec(start, 8) for start in range(0, 8 * SHARDS, 8)]
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = Storage(moto.config(options={"s3://": {**moto.options, "endpoint_url": proxy.url}}))
        ledger = Ledger(storage, f"s3://{moto.new_bucket()}/ledger")
        for spec in specs:
            assert begin_attempt(ledger, spec, "a", 2) == Attempt("a-1", is_last=False)
        assert [asked for asked, *_ in proxy.log] == ["GET", "PUT"] * SHARDS
        assert _lists(proxy) == SHARDS
        assert begin_attempt(ledger, specs[3], "a", 2) == Attempt("a-2", is_last=True)
        proxy.log.clear()
        assert count_attempts(ledger, "a", 2) == (SHARDS + 1, {specs[3]})
        assert _lists(proxy) == len(proxy.log) == 1


class _Lists(Storage):
    """List these keys."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self._keys = keys

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        assert uri == join(absolute("ledger"), layout.LEDGER_ATTEMPTS)
        return (ObjectInfo(key, 1) for key in self._keys)


def test_shards_with_a_common_prefix_are_counted_apart() -> None:
    keys = ["0000000000-5/a-1", "0000000000-5/a-2", "0000000000-512/a-1", "0000000008-4/a-1", "0000000008-4/b-1", "x/y"]
    assert count_attempts(Ledger(_Lists(keys), "ledger"), "a", 2) == (5, {ShardSpec(0, 5)})
    assert count_attempts(Ledger(_Lists([]), "ledger"), "a", 2) == (0, set())


def test_a_store_that_does_not_list_the_markers_of_a_shard_together_is_refused() -> None:
    keys = ["0000000000-5/a-1", "0000000008-4/a-1", "0000000000-5/a-2"]
    with pytest.raises(StorageError, match="out of order"):
        count_attempts(Ledger(_Lists(keys), "ledger"), "a", 2)
