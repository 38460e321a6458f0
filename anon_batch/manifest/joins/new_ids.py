"""Give images other ids, made of the columns of their rows."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.manifest.check_ids import shorten
from anon_batch.manifest.joins.spellings import base_name, base_stem
from anon_batch.manifest.joins.values import find_column, texts_at
from anon_batch.manifest.rows import Rows, replace_columns

_ID = "image_id"
_OF_IDS = {_ID: lambda ids: ids, "name": base_name, "stem": base_stem}
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class IdTemplate:
    """A text such as `val/{wnid}/{name}`.

    Args:
        text: as the user wrote it.
        parts: (text before, column) in order; the column is "" at the end.
    """

    text: str
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> IdTemplate:
        """Return the template.

        Raises:
            ConfigError: it names no column, or braces do not fit.
        """
        try:
            found = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise ConfigError(f"--id {text}: {exc}; columns are named as {{wnid}}") from None
        if any(form or conversion for _, _, form, conversion in found) or any(name == "" for _, name, _, _ in found):
            raise ConfigError(f"--id {text}: columns are named as {{wnid}}, without anything else in the braces")
        parts = tuple((before, name or "") for before, name, _, _ in found)
        if not any(name for _, name in parts):
            raise ConfigError(
                f"--id {text}: names no column, so all images would have one id; name columns as {{wnid}}"
            )
        return cls(text, parts)

    @property
    def columns(self) -> list[str]:
        """Return the columns that it names, without those that the id itself gives."""
        return [name for _, name in self.parts if name and name not in _OF_IDS]

    def ids_of(self, table: pa.Table) -> pa.Array:
        """Return the ids of rows; null where a column has no value."""
        pieces: list[pa.Array | str] = []
        for before, name in self.parts:
            pieces.append(before)
            if name in _OF_IDS and name not in table.column_names[1:]:
                pieces.append(_OF_IDS[name](texts_at(table, _ID)))
            elif name:
                texts = texts_at(table, name)
                pieces.append(pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts))
        return pc.binary_join_element_wise(*pieces, "")


def with_new_ids(rows: Rows, template: IdTemplate) -> Rows:
    """Return rows with other ids.

    Raises:
        ManifestError: no such column, or rows without a value in it; names the first ones.
    """
    for name in template.columns:
        if find_column(rows.extra.names, name) is None:
            raise ManifestError(
                f"--id {template.text}: no column `{name}`; columns: {', '.join(rows.extra.names) or 'none'}"
            )
    missing_count = 0
    shown: list[str] = []
    for table in rows.tables():
        absent = np.flatnonzero(template.ids_of(table).is_null().to_numpy(zero_copy_only=False)).tolist()
        missing_count += len(absent)
        shown += [shorten(table.column(_ID)[at].as_py()) for at in absent[: _SHOWN - len(shown)]]
    if missing_count:
        more = f", and {missing_count - len(shown):,} more" if missing_count > len(shown) else ""
        raise ManifestError(
            f"--id {template.text}: {missing_count:,} of {rows.count:,} images have no value in one of its columns, so no id: "
            f"{', '.join(shown)}{more}"
        )

    def renamed() -> Iterator[pa.Table]:
        for table in rows.tables():
            yield replace_columns(table, {_ID: template.ids_of(table)})

    return Rows(renamed, rows.extra, rows.count)
