"""Check the private columns `slice_*`, because their values become keys of the public stats.json.

A value is a short word and a column has few of them, so that an address, a secret or a number that identifies an image is refused
before any image is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.publish.values import kind_of_text
from anon_batch.manifest.regions_column import is_text, plain_type
from anon_batch.manifest.slices import PREFIX, as_word, is_slice

MAX_COLUMNS = 8
MAX_VALUES = 32
_MAX_DIGITS = 8  # as in `1990-1999`; a telephone number has more
_MAX_CHANGES = 4  # between letters and digits; a random token has more
_NAME = re.compile(r"slice_[A-Za-z0-9_]{1,32}")
_WORD = re.compile(r"(?!.*\d{5})[\w<>=+-][\w<>=+ -]{0,23}")
_ADVICE = "slices are groups: write one of few short words for each image, such as `night` or `20-39`"


class SliceColumns:
    """Check the slices of all rows.

    Args:
        schema: names and types of the manifest's columns.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: too many slices, or one whose name or type cannot be used.
    """

    def __init__(self, schema: pa.Schema, where: str) -> None:
        self._where = where
        self.names = tuple(name for name in schema.names if is_slice(name))
        self._values: Mapping[str, set[Any]] = {name: set() for name in self.names}
        if len(self.names) > MAX_COLUMNS:
            raise ManifestError(
                f"manifest {where}: {len(self.names)} columns `{PREFIX}*`, at most {MAX_COLUMNS} are counted"
            )
        for name in self.names:
            kind = plain_type(schema.field(name).type)
            if not _NAME.fullmatch(name) or kind_of_text(name) is not None:
                raise self._error(name[:40], "the name is public, and may hold up to 32 letters, digits and `_`")
            if not (is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
                raise self._error(name, f"is {kind}; {_ADVICE}")

    def feed(self, table: pa.Table) -> None:
        """Check the next rows.

        Raises:
            ManifestError: a value is no short word, or a column has too many.
        """
        for name in self.names:
            known = self._values[name]
            for value in pc.unique(table.column(name)).to_pylist():
                if value in known:
                    continue
                known.add(value)
                if not _is_word(as_word(value)):  # which is not shown, because it may be a secret
                    raise self._error(name, f"holds a value that must not become public; {_ADVICE}")
                if len(known) > MAX_VALUES:
                    raise self._error(name, f"has more than {MAX_VALUES} values; {_ADVICE}")

    def private(self, table: pa.Table) -> dict[str, pa.Array]:
        """Return column -> words of a table, for the rows in the ledger."""
        return {name: pa.array(map(as_word, table.column(name).to_pylist()), pa.string()) for name in self.names}

    def _error(self, name: str, what: str) -> ManifestError:
        return ManifestError(f"manifest {self._where}: column `{name}` {what}")


def _is_word(text: str) -> bool:
    if not _WORD.fullmatch(text) or kind_of_text(text) is not None:
        return False
    letters = [char.isdigit() for char in text if char.isalnum()]
    return sum(letters) <= _MAX_DIGITS and sum(a != b for a, b in pairwise(letters)) <= _MAX_CHANGES
