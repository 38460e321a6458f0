"""Tables of addresses: CSV, TSV, JSON lines or Parquet with a column uri, url, path or file_name."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.addresses import folder_of, resolve
from anon_batch.manifest.check_ids import shorten
from anon_batch.manifest.importers.classify import TABLE_SUFFIXES
from anon_batch.manifest.importers.entries import BATCH_ROWS, Source
from anon_batch.manifest.importers.parquet import open_parquet
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.names import has_image_suffix, unsafe
from anon_batch.manifest.regions_column import is_text
from anon_batch.manifest.schema import check_columns
from anon_batch.manifest.unicode_names import on_disk
from anon_batch.storage import Storage

ADDRESS_COLUMNS = ("uri", "url", "path", "file_name")
SUFFIXES = TABLE_SUFFIXES
_LINE_CHARACTERS = 16 * 2**20


def address_column(names: list[str]) -> str | None:
    """Return the column that holds the addresses; None without any."""
    return next((n for n in ADDRESS_COLUMNS if n in names), None)


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield one row for each row of the source's tables, whatever its address looks like; the other columns pass through.

    Relative addresses start from the table's own folder. Without a column `image_id` the id is a relative
    address itself if it is safe, else `<table, without suffix>/<row:08d>` with the address's image suffix, so
    that no bucket or host is published as an id. CSV values stay text.

    Raises:
        ManifestError: no address column, or a line that cannot be read; names file and line.
    """
    for address in source.addresses:
        try:
            yield from _file_tables(storage, source, address, report)
        except ManifestError as exc:
            if not source.several:
                raise
            report.found_count += 1
            report.skip(source.below(address), "damaged", str(exc))


def _file_tables(storage: Storage, source: Source, address: str, report: ImportReport) -> Iterator[pa.Table]:
    start = 0
    for raw in raw_tables(storage, address):
        rows = _rows(raw, source, address, start)
        report.found_count += len(raw)
        report.dropped.update(set(ADDRESS_COLUMNS) & set(raw.column_names) - {address_column(raw.column_names)})
        yield rows
        start += len(raw)


def _rows(raw: pa.Table, source: Source, address: str, start: int) -> pa.Table:
    column = address_column(raw.column_names)
    if column is None:
        raise ManifestError(
            f"{address}: no column of addresses (uri, url, path or file_name); columns: {', '.join(raw.column_names)}"
        )
    if not is_text(raw.column(column).type) and not pa.types.is_null(raw.column(column).type):
        raise ManifestError(f"{address}: column `{column}` is {raw.column(column).type}, expected text")
    given = raw.column(column).cast(pa.string()).combine_chunks()
    columns: dict[str, Any] = {"uri": on_disk(resolve(given, folder_of(address)))}
    if "image_id" in raw.column_names:
        columns["image_id"] = raw.column("image_id")
        if not is_text(columns["image_id"].type):
            columns["image_id"] = columns["image_id"].cast(pa.string())
    else:
        stem = source.stem_of(address)
        columns["image_id"] = pa.array(
            [
                _id_of(text, stem, start + n, is_safe=not odd)
                for n, (text, odd) in enumerate(zip(given.to_pylist(), unsafe(given).tolist(), strict=True))
            ],
            pa.string(),
        )
    others = [n for n in raw.column_names if n not in (*ADDRESS_COLUMNS, "image_id", "image")]
    features = {n: feature for n, feature in read_features(raw.schema.metadata).items() if n in others}
    return pa.table({**columns, **{n: raw.column(n) for n in others}}).replace_schema_metadata(to_metadata(features))


def _id_of(text: str | None, stem: str, row: int, *, is_safe: bool) -> str:
    if text and "://" not in text and is_safe:
        return text
    path = (text or "").split("?")[0].split("#")[0]
    suffix = posixpath.splitext(path)[1].lower() if has_image_suffix(path) else ""
    return f"{stem}/{row:08d}{suffix}"


def raw_tables(storage: Storage, address: str) -> Iterator[pa.Table]:
    """Yield the rows of a table as they are.

    Raises:
        ManifestError: a line that cannot be read; names file and line.
    """
    if address.lower().endswith(".parquet"):
        with open_parquet(storage, address) as parquet:
            yield from parquet.tables([n for n in parquet.schema.names if n != "image"])
        return
    with storage.open(address) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        records = (
            _json_records(text, address)
            if address.lower().endswith(("jsonl", "ndjson"))
            else _csv_records(text, address)
        )
        try:
            while batch := list(islice(records, BATCH_ROWS)):
                names = list(dict.fromkeys(name for record in batch for name in record))
                check_columns(names, address)  # because so many columns of so many rows may not fit in memory
                yield pa.table({name: [record.get(name) for record in batch] for name in names})
        except UnicodeDecodeError as exc:
            raise ManifestError(f"{address}: not UTF-8 ({exc.reason} at byte {exc.start}); save it as UTF-8") from None
        except UnicodeEncodeError as exc:
            raise ManifestError(f"{address}: the text {shorten(exc.object)} is not UTF-8; correct it") from None
        except OverflowError:
            raise ManifestError(f"{address}: a number does not fit into 64 bits; write it as text") from None
        except pa.ArrowException as exc:
            raise ManifestError(f"{address}: a column mixes types ({exc}); give its values one type") from None


def _csv_records(text: io.TextIOWrapper, address: str) -> Iterator[dict[str, Any]]:
    lines = (line for _, line in _lines(text, address))
    reader = csv.DictReader(lines, delimiter="\t" if address.lower().endswith(".tsv") else ",", strict=True)
    try:
        header = list(reader.fieldnames or ())
        check_columns(header, address)
        if len(set(header)) < len(header):
            raise ManifestError(f"{address}: a column name appears twice in the header ({', '.join(header)})")
        for record in reader:
            if None in record or None in record.values():
                raise ManifestError(
                    f"{address}, line {reader.line_num}: expected {len(header)} values, as many as the header has"
                )
            yield record
    except csv.Error as exc:
        raise ManifestError(f"{address}, line {reader.line_num}: not CSV ({exc})") from None


def _json_records(text: io.TextIOWrapper, address: str) -> Iterator[dict[str, Any]]:
    for number, line in _lines(text, address):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except RecursionError:
            raise ManifestError(f"{address}, line {number}: JSON that is nested too deep") from None
        except ValueError as exc:
            raise ManifestError(f"{address}, line {number}: not JSON ({exc})") from None
        if not isinstance(record, dict):
            raise ManifestError(f"{address}, line {number}: expected an object with uri, url, path or file_name")
        yield record


def _lines(text: io.TextIOWrapper, address: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers.

    Raises:
        ManifestError: a line of more than 16 million characters, which may be a file without line ends.
    """
    for number in count(1):
        line = text.readline(_LINE_CHARACTERS + 1)
        if not line:
            return
        if len(line) > _LINE_CHARACTERS:
            raise ManifestError(f"{address}, line {number}: longer than {_LINE_CHARACTERS:,} characters; not a table")
        yield number, line
