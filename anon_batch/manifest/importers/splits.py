"""Splits that the names of folders and files tell, as Hugging Face `datasets` reads them.

Source: `datasets.data_files`, the default patterns: `data/SPLIT-00000-of-00002`, then words such as `train`, `val` and `test` in
the names of folders, then in those of files.
"""

from __future__ import annotations

import posixpath
import re

from anon_batch.manifest.importers.entries import Source

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "dev", "val"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), TEST),
}
_WORD = re.compile(rf"(?:^|[-._ 0-9])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?=$|[-._ 0-9])")
_SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*")


def split_of(path: str) -> str | None:
    """Return the split of a folder, or of a file with many images, by its path below the source; None if it tells none."""
    if (shard := _SHARD.fullmatch(path)) is not None:
        return shard[1]
    words = (_WORD.search(segment) for segment in path.split("/"))
    return next((_WORDS[word[1]] for word in words if word is not None), None)


def splits_of_files(source: Source) -> dict[str, str]:
    """Return address -> split of the files of a source; empty unless every name tells one, and not all are `train`."""
    if not source.several:
        return {}
    found = {address: split_of(source.stem_of(address)) for address in source.addresses}
    given = {address: split for address, split in found.items() if split is not None}
    return given if len(given) == len(found) and set(given.values()) != {TRAIN} else {}


def container_of(source: Source, uri: str) -> str:
    """Return the path of a tar or Parquet file below the source, without its suffix, by the address of a row."""
    return posixpath.splitext(source.below(uri.partition("#column=")[0]))[0]
