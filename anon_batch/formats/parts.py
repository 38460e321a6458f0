"""The committed parts of a release, as found on storage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.part import PartMeta, read_meta
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage, join

_READERS = 16
_READ_AHEAD = 1024


def committed(storage: Storage, output: str) -> list[ShardSpec]:
    """Shards that have a part, in the order of their names."""
    found = (layout.parse_part(info.key) for info in storage.list(join(output, layout.PROVENANCE)))
    return [spec for spec in found if spec is not None]


def read_metas(storage: Storage, output: str, specs: list[ShardSpec]) -> Iterator[tuple[ShardSpec, PartMeta]]:
    """Each shard with its part's metadata, in the order given; reads footers only.

    Raises:
        IntegrityError: a part is damaged or names another shard.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(specs), _READ_AHEAD):  # or a slow consumer would let all footers pile up
            some = specs[start : start + _READ_AHEAD]
            yield from zip(some, pool.map(lambda spec: _read_meta(storage, output, spec), some), strict=True)


def _read_meta(storage: Storage, output: str, spec: ShardSpec) -> PartMeta:
    uri = join(output, layout.provenance_part(spec.name))
    with storage.open(uri) as file:
        meta = read_meta(file, uri)
    if meta.shard != spec.name:
        raise IntegrityError(f"{uri}: holds shard {meta.shard}")
    return meta
