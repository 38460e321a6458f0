"""Decide which pass-through columns are published: by their names, and by a sample of their values."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from anon_batch.errors import ConfigError
from anon_batch.formats.features import features_of
from anon_batch.manifest.publish.class_names import paths_of_names
from anon_batch.manifest.publish.cleaner import HIDDEN_KEY, Cleaner
from anon_batch.manifest.publish.column_filter import ColumnFilter, explained, needs_look, what_holds
from anon_batch.manifest.publish.values import is_too_much
from anon_batch.manifest.slices import is_slice

PRIVATE_SLICE = "slice, only counted"


def decide(
    sample: pa.Table, extra: pa.Schema, listed: Sequence[str] = (), private: Mapping[str, str] = MappingProxyType({})
) -> ColumnFilter:
    """Decide which pass-through columns are published.

    A column or key is withheld when its name or more than a twentieth of its texts in the sample (a quarter, if
    these are one or two) look like an address, a
    digest, camera metadata, a place, a person, a contact, an account, a device, a secret or the data of a face.

    Args:
        sample: rows of the manifest, with all pass-through columns.
        extra: names and types of the pass-through columns, and their features as metadata.
        listed: columns, keys such as `json.url`, or names of classes such as `label.names`, that are published as they are.
        private: columns that are never published -> why.

    Raises:
        ConfigError: `listed` names a column or key that is not there, or a part of one that is withheld as a whole.
        ManifestError: a column holds values that cannot be taken apart.
    """
    names = frozenset(listed)
    if hidden := sorted(name for name in names if name.partition(".")[0] in private):
        raise ConfigError(f"publish.columns: `{hidden[0]}` is never published: {private[hidden[0].partition('.')[0]]}")
    if hidden := sorted(name for name in names if is_slice(name.partition(".")[0])):
        raise ConfigError(
            f"publish.columns: `{hidden[0]}` is a slice, which is counted and never published; publish a copy of it under "
            "another name"
        )
    withheld: dict[str, str] = {}
    first = Cleaner({}, names)
    for field in extra:
        if field.name in names:
            continue
        if field.name in private:
            withheld[field.name] = private[field.name]
            continue
        if is_slice(field.name):
            withheld[field.name] = PRIVATE_SLICE
            continue
        kind = first.kind_of_key((field.name,), what_holds(field.type))
        if kind is not None:
            withheld[field.name] = kind
        elif needs_look(field.type):
            with explained(field.name, field.type):
                first.column(field.name, sample.column(field.name).to_pylist())
    withheld.update(_by_values(first))
    _check_listed(listed, extra, first, withheld)
    return ColumnFilter(extra, withheld, Cleaner(withheld, names), names)


def _by_values(cleaner: Cleaner) -> dict[str, str]:
    hits: dict[str, Counter[str]] = {}
    for (path, kind), count in cleaner.blanked.items():
        hits.setdefault(path, Counter())[kind] += count
    return {
        path: max(sorted(kinds), key=kinds.__getitem__)
        for path, kinds in hits.items()
        if is_too_much(kinds.total(), cleaner.seen[path])
    }


def _check_listed(listed: Sequence[str], extra: pa.Schema, cleaner: Cleaner, withheld: Mapping[str, str]) -> None:
    names = [path for column, feature in features_of(extra).items() for path in paths_of_names(feature, column)]
    known = [*extra.names, *sorted(name for name in cleaner.known if not name.endswith(HIDDEN_KEY)), *names]
    whole = [*withheld, *cleaner.removed]
    for name in listed:
        if (
            outer := next((path for path in whole if name.startswith(f"{path}.") and path not in listed), None)
        ) is not None:
            raise ConfigError(
                f"publish.columns: `{name}` is a part of `{outer}`, which is not published as a whole; name `{outer}` instead, "
                "or move the part to a column of its own"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"; did you mean `{near[0]}`?" if near else f"; there are: {', '.join(known[:20]) or 'none'}"
            raise ConfigError(f"publish.columns: the manifest has no column or key `{name}`{hint}")
