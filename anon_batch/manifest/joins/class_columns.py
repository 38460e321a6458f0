"""Make classes of columns of texts: numbers, and names that loaders know as `ClassLabel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.formats.features import CLASS_LABEL, class_names, read_features, to_metadata
from anon_batch.manifest.check_ids import one_array, shorten
from anon_batch.manifest.regions_column import is_text
from anon_batch.manifest.rows import Rows, replace_columns

_MAX_CLASSES = 100_000


def with_classes(rows: Rows, columns: Sequence[str]) -> Rows:
    """Return rows whose columns of texts hold the places of the texts in their sorted list, which becomes their `ClassLabel`.

    A column that has names of classes already stays.

    Raises:
        ManifestError: no such column, another type, or more classes than loaders read.
    """
    features = read_features(rows.extra.metadata)
    for name in columns:
        if name not in rows.extra.names:
            raise ManifestError(f"--classes {name}: no such column; columns: {', '.join(rows.extra.names) or 'none'}")
        if class_names(features.get(name)) is None and not is_text(rows.extra.field(name).type):
            raise ManifestError(f"--classes {name}: the column is {rows.extra.field(name).type}, expected texts")
    wanted = [name for name in dict.fromkeys(columns) if class_names(features.get(name)) is None]
    names = {name: _sorted_texts(rows, name) for name in wanted}
    features |= {name: {"names": texts.to_pylist(), "_type": CLASS_LABEL} for name, texts in names.items()}
    fields = [pa.field(field.name, pa.int64()) if field.name in names else field for field in rows.extra]

    def numbered() -> Iterator[pa.Table]:
        for table in rows.tables():
            numbers = {name: pc.index_in(_without_blanks(table, name), texts) for name, texts in names.items()}
            yield replace_columns(table, {name: column.cast(pa.int64()) for name, column in numbers.items()})

    return Rows(numbered, pa.schema(fields, to_metadata(features)), rows.count)


def _sorted_texts(rows: Rows, name: str) -> pa.Array:
    found: dict[Any, None] = {}
    for table in rows.tables():
        found.update(dict.fromkeys(_without_blanks(table, name).unique().drop_null().to_pylist()))
        if len(found) > _MAX_CLASSES:
            raise ManifestError(
                f"--classes {name}: over {_MAX_CLASSES:,} texts, the last {shorten(list(found)[-1])}: no classes"
            )
    if not found:
        raise ManifestError(f"--classes {name}: the column holds no text")
    return pa.array(sorted(found), pa.string())


def _without_blanks(table: pa.Table, name: str) -> pa.Array:
    texts = one_array(table, name).cast(pa.string())
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), pa.scalar(None, pa.string()), texts)
