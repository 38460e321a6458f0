"""_info.json and wids.json: the tars of a release with their numbers of samples, for readers of WebDatasets.

Names of tars are relative to OUTPUT, where both files lie.

Source: timm's reader of WebDatasets (`timm/data/readers/reader_wds.py`), the index of wids 0.1 (`wids/wids_specs.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.tar_shard import sample_key
from anon_batch.shards import effective
from anon_batch.units import format_count, format_counted

_ALL = "train"  # what loaders call the split of everything


class _Shard(NamedTuple):
    """A tar, its number of samples, and its split."""

    key: str
    samples_count: int
    split: str


def write_shard_index(release: Release) -> None:
    """Write both files of a finished release in the layout `webdataset`; nothing in other layouts.

    Raises:
        IntegrityError: run.json or a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    record = release.read_run_json()
    if record.layout != "webdataset":
        return
    shards = list(_shards(release, record))
    release.put(layout.SHARD_INFO, _to_json({"splits": _splits(record, shards)}))
    release.put(layout.SHARD_INDEX, _to_json(_index(record, shards)))


def describe_shards(record: RunJson, parts_count: int) -> str:
    """Return whether the shards are those of the source, as a sentence; "" if the release was not asked to keep them.

    Args:
        record: of the release.
        parts_count: shards that it has.
    """
    kept = record.source_shards
    if kept is None:
        return ""
    if kept == parts_count:
        return "Each shard holds the images of one tar or Parquet file of the source, in the same order."
    return (
        f"The source has {format_counted(kept, 'shard')}. Some were divided, so that this release has "
        f"{format_count(parts_count)}, in the same order."
    )


def _shards(release: Release, record: RunJson) -> Iterator[_Shard]:
    for spec in effective(release.parts()):
        table = release.read_part(spec).table.select(["output", "member"]).drop_null()
        if len(table):
            samples = {sample_key(name) for name in table.column("member").to_pylist()}
            yield _Shard(table.column("output")[0].as_py(), len(samples), _split_of(record, spec.start))


def _split_of(record: RunJson, row: int) -> str:
    """Return the split of a shard by its first row, because no shard holds rows of two."""
    return next((split.name for split in record.splits if split.start <= row < split.stop), _ALL)


def _splits(record: RunJson, shards: Sequence[_Shard]) -> dict[str, Any]:
    names = [split.name for split in record.splits] or [_ALL]
    return {name: _split(name, [shard for shard in shards if shard.split == name]) for name in names}


def _split(name: str, shards: Sequence[_Shard]) -> dict[str, Any]:
    lengths = [shard.samples_count for shard in shards]
    return {
        "name": name,
        "num_samples": sum(lengths),
        "filenames": [shard.key for shard in shards],
        "shard_lengths": lengths,
    }


def _index(record: RunJson, shards: Sequence[_Shard]) -> dict[str, Any]:
    shardlist = [{"url": own.key, "nsamples": own.samples_count, "dataset": own.split} for own in shards]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": record.name, "shardlist": shardlist}


def _to_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()
