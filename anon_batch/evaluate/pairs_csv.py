"""Read pairs of images of one person, for re-identification and identity."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anon_batch.errors import ConfigError
from anon_batch.evaluate.samples import choose
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, absolute, join

COLUMNS = ("person", "neutral", "smiling")
_MIN_PERSONS = 2


class Pair(NamedTuple):
    """Two images of one person."""

    person: str
    neutral: ManifestRow
    smiling: ManifestRow


def read_pairs(storage: Storage, address: str) -> list[Pair]:
    """Read a CSV with the columns person, neutral, smiling.

    Files are relative to the CSV, or to a folder `images` beside it.

    Raises:
        ConfigError: a column is missing or empty, a person or file appears twice, there are fewer than two persons, or a
            file is missing.
        StorageError: the CSV cannot be read.
    """
    csv_uri = absolute(address)
    try:
        text = storage.read(csv_uri).decode("utf-8-sig")
        table = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        lines = [] if missing else list(table)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ConfigError(f"--pairs {csv_uri}: not a CSV in UTF-8 ({exc})") from None
    if missing:
        raise ConfigError(f"--pairs {csv_uri}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    for number, line in enumerate(lines, start=2):
        if empty := [name for name in COLUMNS if not (line[name] or "").strip()]:
            raise ConfigError(f"--pairs {csv_uri}, line {number}: {', '.join(empty)} is empty")
    names = [name for line in lines for name in (line["neutral"], line["smiling"])]
    _check_unique(csv_uri, "person", [line["person"] for line in lines])
    _check_unique(csv_uri, "file", names)
    if len(lines) < _MIN_PERSONS:
        raise ConfigError(f"--pairs {csv_uri}: {len(lines)} persons, expected at least two")
    rows = _rows(storage, csv_uri, names)
    return [Pair(line["person"], next(rows), next(rows)) for line in lines]


def sample_pairs(listed: Sequence[Pair], limit: int | None, seed: int) -> list[Pair]:
    """Return a sample of persons, all without a limit.

    Raises:
        ConfigError: fewer than two persons remain.
    """
    chosen, _ = choose(((index, pair.person) for index, pair in enumerate(listed)), limit, seed)
    if len(chosen) < _MIN_PERSONS:
        raise ConfigError(f"--limit {limit}: pairs need at least two persons")
    return [listed[index] for index in chosen]


def _check_unique(csv_uri: str, kind: str, values: Sequence[str]) -> None:
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise ConfigError(f"--pairs {csv_uri}: {kind} {repeated[0]!r} appears twice")


def _rows(storage: Storage, csv_uri: str, names: Sequence[str]) -> Iterator[ManifestRow]:
    folder = posixpath.dirname(csv_uri)
    candidates = (folder, join(folder, "images"))
    base = next((candidate for candidate in candidates if storage.exists(join(candidate, names[0]))), None)
    if base is None:
        raise ConfigError(f"--pairs {csv_uri}: {names[0]} is neither beside the CSV nor in a folder `images` beside it")
    for name in names:
        uri = join(base, name)
        if not storage.exists(uri):
            raise ConfigError(f"--pairs {csv_uri}: {uri} does not exist")
        yield ManifestRow(0, name, uri)
