"""A damaged part of what is kept encrypted is named by its own address."""

from __future__ import annotations

from pathlib import Path

import pytest

from anon_batch.errors import IntegrityError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.sealed import SealedShard
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage


@pytest.mark.parametrize("damaged", ["link", "linkkeys"])
def test_the_damaged_part_is_named(tmp_path: Path, damaged: str) -> None:
    store, spec = SealStore(Ledger(Storage(), str(tmp_path)), "link"), ShardSpec(0, 8)
    store.put(spec, "a-1", SealedShard((), ()))
    [path] = (tmp_path / damaged).iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IntegrityError) as caught:
        store.read(spec, "a-1", "run")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
