"""Compare the published columns of a release with those of its source, and name the classes of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from anon_batch.formats.features import class_names, features_of
from anon_batch.formats.run_json import RunJson
from anon_batch.manifest.publish.class_names import is_other_name

_STRUCTURED = ("{", "[", '"', "\ufeff")  # begin texts out of which the filter of columns may have taken keys


class Values:
    """What a release may hold in its columns.

    Columns of lists and structs are not compared, because the filter of columns may have taken fields out of them.

    Args:
        extra: the pass-through columns of the source, with their features as metadata.
        record: run.json of the release.
    """

    def __init__(self, extra: pa.Schema, record: RunJson) -> None:
        published = set(record.columns.get("published", []))
        self.compared = tuple(f.name for f in extra if f.name in published and not f.type.num_fields)
        self._names = {name: names for name, own in features_of(extra).items() if (names := class_names(own))}
        self._released: Mapping[str, Any] = record.columns.get("features", {})

    def other_names(self) -> Iterator[str]:
        """Yield the columns whose classes have other names in the release than in the source; a name may be left out."""
        for column, names in self._names.items():
            released = class_names(self._released.get(column, {}))
            if released is None:
                continue  # because too many of the names lead somewhere
            pairs = enumerate(zip(names, released, strict=False))
            if len(names) != len(released) or any(a != b and not is_other_name(b, at) for at, (a, b) in pairs):
                yield column

    def differ(self, source: Mapping[str, Any], released: Mapping[str, Any]) -> bool:
        """Return whether a value of a row is another one; the release may lack it, because the filter of columns left it out."""
        return any(
            (own := released.get(name)) is not None
            and own != source.get(name)
            and not _may_be_cut(source.get(name), own)
            for name in self.compared
        )

    def show(self, column: str, value: Any) -> str:
        """Return a value as groups are called: a class by its name."""
        names = self._names.get(column, [])
        is_class = type(value) is int and 0 <= value < len(names)
        return names[value] if is_class else str(value)


def _may_be_cut(source: Any, released: Any) -> bool:
    if isinstance(source, float) and isinstance(released, float):
        return math.isnan(source) and math.isnan(released)
    return isinstance(source, str) and source.lstrip().startswith(_STRUCTURED)
