"""Files made to break or to deceive a reader, generated from a seed: no blob is stored.

`image_corpus` yields image files with the group that they belong to; `containers` makes tars, tables and Parquet files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CANARY = b"CANARY-7f3a-secret"  # planted wherever a file can hide bytes; no output may hold it


class HostileImage(NamedTuple):
    """One file.

    Args:
        group: what is wrong with it; the rows of the table in the documentation.
        name: unique, with the suffix of its format.
        data: the file.
        reasons: reason codes that are right; empty where an output would be right too, because readers differ.
    """

    group: str
    name: str
    data: bytes
    reasons: frozenset[str] = frozenset()


def image_corpus(seed: int = 1) -> Iterator[HostileImage]:
    """Yield all files, each small and quick to reject or to read, in a fixed order."""
    from hostile_files import bombs, damage, floods, metadata, second_images

    for module in (damage, bombs, floods, metadata, second_images):
        yield from module.files(seed)
