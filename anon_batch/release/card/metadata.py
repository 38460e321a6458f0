"""images/metadata.parquet: the columns of the images in the layout `files`, as Hugging Face's `imagefolder` reads them.

Every image has a row, because the loader drops those that have none.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.formats import layout
from anon_batch.formats.provenance import RESERVED_COLUMNS
from anon_batch.formats.release import Release
from anon_batch.shards import effective

FILE_NAME = "file_name"


def write_metadata(release: Release) -> int:
    """Write images/metadata.parquet of a finished release; return the number of its rows, 0 if there is no image.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    buffer, writer, count = io.BytesIO(), None, 0
    for table in _tables(release):
        if writer is None:
            writer = pq.ParquetWriter(buffer, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(table)
    if writer is None:
        return 0
    writer.close()
    release.put(layout.IMAGES_METADATA, buffer.getvalue())
    return count


def _tables(release: Release) -> Iterator[pa.Table]:
    start = len(f"{layout.IMAGES}/")
    for spec in effective(release.parts()):
        table = release.read_part(spec).table
        table = table.filter(pc.is_valid(table.column("output")))
        columns = {FILE_NAME: pc.utf8_slice_codeunits(table.column("output"), start)}
        columns |= {name: table.column(name) for name in ("image_id", "synthetic")}
        for name in table.column_names:
            if name not in RESERVED_COLUMNS and name not in columns:
                columns[name] = table.column(name)
        yield pa.table(columns).replace_schema_metadata(None)
