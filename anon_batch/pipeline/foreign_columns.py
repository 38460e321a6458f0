"""Refuse a manifest whose digests or sizes describe other files, because every row would fail as `source_changed`."""

from __future__ import annotations

import pyarrow as pa

from anon_batch.config import JobConfig
from anon_batch.errors import ManifestError
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.compare_columns import READ_ROWS, described_rows, find_foreign_columns
from anon_batch.manifest.fetch import SourceReader
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage


class ForeignColumns:
    """Keep the first rows that have a digest or a size, then compare them with their images.

    Args:
        config: names the manifest and what may be read.
        storage: reads the images.
    """

    def __init__(self, config: JobConfig, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._rows: list[ManifestRow] = []
        self._seen_count = 0

    def feed(self, table: pa.Table) -> None:
        """Take the next rows, as far as they are needed."""
        self._rows += described_rows(table, self._seen_count, READ_ROWS - len(self._rows))
        self._seen_count += len(table)

    def finish(self) -> None:
        """Compare.

        Raises:
            ManifestError: a column fits none of the images; names the setting that ignores it.
        """
        if not self._rows:
            return
        config = self._config
        reader = SourceReader(self._storage, AllowedSources.of(config.sources, config.manifest))
        found = find_foreign_columns(reader, self._rows, config.limits.max_bytes)
        if found:
            settings = " ".join(f"--set sources.columns.{column.name}=null" for column in found)
            raise ManifestError(
                f"manifest {config.manifest}: {'; '.join(map(str, found))}. To ignore it: {settings}; another name instead of "
                "null keeps it as a column of that name. If the images changed, build the manifest again"
            )
