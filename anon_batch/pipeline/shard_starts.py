"""Find where the shards of a job begin, if that follows the source."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from anon_batch.config import JobConfig
from anon_batch.formats.splits import Split
from anon_batch.pipeline.source_shards import SourceShards
from anon_batch.pipeline.whole_samples import WholeSamples


class ShardStarts:
    """Take the rows of a job in order: with `write.shards: source`, or where tars are written, whose samples stay whole."""

    def __init__(self, config: JobConfig) -> None:
        self._shard_rows, write = config.engine.shard_rows, config.write
        self._source = SourceShards(config.manifest, self._shard_rows) if write.shards == "source" else None
        self._samples = WholeSamples() if write.layout == "webdataset" and self._source is None else None

    def feed(self, table: pa.Table) -> None:
        """Take the next rows.

        Raises:
            ManifestError: a shard of the source is too large to be written as one.
        """
        if self._source is not None:
            self._source.feed(table)
        if self._samples is not None:
            self._samples.feed(table)

    def finish(self, splits: Sequence[Split]) -> tuple[tuple[int, ...], int]:
        """Return the first row of each shard, none if all have `engine.shard_rows` rows, and the rows of the largest shard.

        Raises:
            ManifestError: `write.shards` is `source`, and all images are files of their own.
        """
        if self._source is not None:
            return self._source.finish()
        if self._samples is None:
            return (), self._shard_rows
        return self._samples.starts(self._shard_rows, [split.start for split in splits[1:]])
