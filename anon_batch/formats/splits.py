"""The splits of a release, as run.json names them: each is a range of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anon_batch.formats import layout

SPLIT_COLUMN = "split"
MAX_SPLITS = 50
_NAME = re.compile(r"\w+(?:\.\w+)*", re.ASCII)  # what Hugging Face `datasets` accepts
_RESERVED = frozenset({"all"})


@dataclass(frozen=True, slots=True)
class Split:
    """A split of a release.

    Args:
        name: as the column `split` has it.
        start: its first row, from 0.
        stop: behind its last row.
        folder: that all its ids start with, and those of no other split; empty if there is none.
    """

    name: str
    start: int
    stop: int
    folder: str = ""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Split:
        """Return a split of run.json.

        Raises:
            TypeError, ValueError: it is damaged.
        """
        split = cls(**fields)
        if not is_split_name(split.name) or not isinstance(split.folder, str):
            raise ValueError(f"split {split.name!r}")
        if type(split.start) is not int or type(split.stop) is not int or not 0 <= split.start < split.stop:
            raise ValueError(f"rows {split.start!r} to {split.stop!r} of split {split.name}")
        return split

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def is_split_name(name: object) -> bool:
    """Return whether loaders take this as the name of a split."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and name not in _RESERVED


def metadata_keys(splits: Sequence[Split]) -> dict[str, tuple[int, int] | None]:
    """Return the keys of the files with the columns of images in the layout `files`, each with its range of rows.

    One for each split if each has a folder of its own, because a loader takes all rows of such a file for the split that the file
    lies in; else one for all rows, whose range is None.
    """
    if len(splits) > 1 and all(split.folder for split in splits):
        return {layout.images_metadata(split.folder): (split.start, split.stop) for split in splits}
    return {layout.images_metadata(): None}
