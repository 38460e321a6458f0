"""Pairs of pictures of one person, for the measures of identity."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anon_batch.errors import ConfigError
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, absolute, join

COLUMNS = ("person", "neutral", "smiling")
_MIN_PERSONS = 2


class Pair(NamedTuple):
    """One person's two pictures."""

    person: str
    neutral: ManifestRow
    smiling: ManifestRow


def read_pairs(storage: Storage, address: str) -> list[Pair]:
    """Reads a CSV with the columns person, neutral, smiling.

    Files are relative to the CSV, or to a folder `images` beside it.

    Raises:
        ConfigError: a column is missing or empty, a person or file appears twice, fewer than two persons, or a file is not
            there.
        StorageError: the CSV cannot be read.
    """
    place = absolute(address)
    try:
        text = storage.read(place).decode("utf-8-sig")
        table = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        lines = [] if missing else list(table)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ConfigError(f"--pairs {place}: not a CSV in UTF-8 ({exc})") from None
    if missing:
        raise ConfigError(f"--pairs {place}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    for number, line in enumerate(lines, start=2):
        if empty := [name for name in COLUMNS if not (line[name] or "").strip()]:
            raise ConfigError(f"--pairs {place}, line {number}: {', '.join(empty)} is empty")
    names = [name for line in lines for name in (line["neutral"], line["smiling"])]
    _refuse_repeats(place, "person", [line["person"] for line in lines])
    _refuse_repeats(place, "file", names)
    if len(lines) < _MIN_PERSONS:
        raise ConfigError(f"--pairs {place}: {len(lines)} persons; telling people apart takes two at least")
    rows = _rows(storage, place, names)
    return [Pair(line["person"], next(rows), next(rows)) for line in lines]


def _refuse_repeats(place: str, what: str, values: Sequence[str]) -> None:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ConfigError(f"--pairs {place}: {what} {twice[0]!r} appears twice")


def _rows(storage: Storage, place: str, names: Sequence[str]) -> Iterator[ManifestRow]:
    beside = posixpath.dirname(place)
    folders = (beside, join(beside, "images"))
    base = next((folder for folder in folders if storage.exists(join(folder, names[0]))), None)
    if base is None:
        raise ConfigError(f"--pairs {place}: {names[0]} is neither beside it nor in a folder `images` beside it")
    for name in names:
        uri = join(base, name)
        if not storage.exists(uri):
            raise ConfigError(f"--pairs {place}: {uri} is not there")
        yield ManifestRow(0, name, uri)
