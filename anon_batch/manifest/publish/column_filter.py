"""Apply what was decided to every table of a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.formats.features import beyond_types, features_of, to_metadata
from anon_batch.manifest.publish.class_names import ClassNames
from anon_batch.manifest.publish.cleaner import Cleaner, Holds, show
from anon_batch.manifest.publish.structured import UNREADABLE
from anon_batch.manifest.regions_column import is_text, plain_type


class ColumnFilter:
    """Filter tables: drop columns and keys that may not be published, and blank texts that lead somewhere.

    Args:
        extra: names and types of all pass-through columns.
        withheld: dotted path -> why, of columns and of keys inside them.
        cleaner: knows the same, and what is listed.
        listed: dotted paths that are published as they are.

    Attributes:
        schema: of the published columns, with their features as metadata.
    """

    def __init__(self, extra: pa.Schema, withheld: Mapping[str, str], cleaner: Cleaner, listed: frozenset[str]) -> None:
        self._extra = frozenset(extra.names)
        self._withheld = dict(withheld)
        self._cleaner = cleaner
        self._listed = listed
        fields = [field for field in map(self._published, extra) if field is not None]
        names = ClassNames(listed)
        self._features = {
            name: names.clean(feature, name) for name, feature in features_of(pa.schema(fields, extra.metadata)).items()
        }
        self._withheld.update(names.withheld)
        self._replaced_names = names.replaced
        self.schema = pa.schema(fields, to_metadata(beyond_types(self._features, pa.schema(fields))))

    def apply(self, table: pa.Table) -> pa.Table:
        """Return a table with its pass-through columns filtered; other columns stay.

        Args:
            table: with the columns that the filter was made for, and the manifest's fixed ones.

        Raises:
            ManifestError: a column holds values that cannot be taken apart.
        """
        columns = {name: table.column(name) for name in table.column_names if name not in self._extra}
        for field in self.schema:
            column = table.column(field.name)
            if field.name not in self._listed and needs_look(column.type):
                column = self._cleaned(column, field)
            columns[field.name] = column
        return pa.table(columns).replace_schema_metadata(self.schema.metadata)

    def _cleaned(self, column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray | pa.Array:
        with explained(field.name, column.type):
            cells = column.to_pylist()
            cleaned = self._cleaner.column(field.name, cells)
            return column if cleaned == cells and field.type == column.type else pa.array(cleaned, field.type)

    def report(self) -> dict[str, Any]:
        """Return what is published and what is not, as JSON values.

        Returns:
            `published`: names of columns; `withheld`: column or key -> why; `blanked`: column or key -> why -> values that
            were left out of a published one; `features`: published column -> its type and names of classes, as Hugging Face
            has them. The names of the classes of `label` are called `label.names`.
        """
        withheld = {show((name,)) if name in self._extra else name: why for name, why in self._withheld.items()}
        blanked: dict[str, Counter[str]] = {path: Counter(kinds) for path, kinds in self._replaced_names.items()}
        for (path, kind), count in sorted(self._cleaner.blanked.items()):
            blanked.setdefault(path, Counter())[kind] += count
        return {
            "published": list(self.schema.names),
            "withheld": dict(sorted({**self._cleaner.removed, **withheld}.items())),
            "blanked": {path: dict(kinds) for path, kinds in blanked.items()},
            "features": self._features,
        }

    def _published(self, field: pa.Field) -> pa.Field | None:
        if field.name in self._listed:
            return field
        if field.name in self._withheld:
            return None
        kind = self._pruned(field.type, (field.name,))
        return None if kind is None else pa.field(field.name, kind)

    def _pruned(self, kind: pa.DataType, path: tuple[str, ...]) -> pa.DataType | None:
        """Return a type without the fields that may not be published; None if nothing is left."""
        kind = plain_type(kind)
        if ".".join(path) in self._listed or not needs_look(kind) or is_text(kind):
            return kind
        if isinstance(kind, pa.BaseExtensionType):
            return self._pruned(kind.storage_type, path)
        if pa.types.is_struct(kind):
            fields = [self._field(kind.field(at), path) for at in range(kind.num_fields)]
            kept = [field for field in fields if field is not None]
            return pa.struct(kept) if kept else None
        if pa.types.is_map(kind):
            item = self._pruned(kind.item_type, path)
            return None if item is None else pa.map_(kind.key_type, item)
        if not _is_list(kind):
            self._withheld[".".join(path)] = UNREADABLE
            return None
        item = self._pruned(kind.value_type, path)
        if item is None or pa.types.is_large_list(kind):
            return None if item is None else pa.large_list(item)
        return pa.list_(item)

    def _field(self, field: pa.Field, path: tuple[str, ...]) -> pa.Field | None:
        own = (*path, field.name)
        if ".".join(own) not in self._listed:
            why = self._cleaner.kind_of_key(own, what_holds(field.type))
            if why is not None:
                self._withheld[show(own)] = why
                return None
        kind = self._pruned(field.type, own)
        return None if kind is None else pa.field(field.name, kind)


@contextmanager
def explained(name: str, kind: pa.DataType) -> Iterator[None]:
    """Turn the error of a column whose values cannot be taken apart into a ManifestError."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError) as exc:  # e.g. an unknown time zone
        raise ManifestError(
            f"column `{name}` ({kind}) cannot be checked for what may not be published ({type(exc).__name__}: "
            f"{str(exc)[:200]}); drop it, or name it in `publish.columns`"
        ) from None


def what_holds(kind: pa.DataType) -> Holds:
    """Return what a column of this type holds, as far as it matters for its name."""
    if pa.types.is_boolean(kind):
        return "flag"
    return "number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "anything"


def needs_look(kind: pa.DataType) -> bool:
    """Return whether a column of this type may hold texts, or keys with a name."""
    kind = plain_type(kind)
    if isinstance(kind, pa.BaseExtensionType):
        return needs_look(kind.storage_type)
    if _is_list(kind):
        return needs_look(kind.value_type)
    return is_text(kind) or bool(kind.num_fields)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
