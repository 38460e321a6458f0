"""Sources that somebody else wrote: each is listed, or refused by a message, in little time and memory."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_files.containers import write_all
from memory import MIB, peak_bytes, reset_peak
from releases import run_cli

from anon_batch.config import SourcesConfig
from anon_batch.errors import FailedError, ManifestError
from anon_batch.manifest import build_manifest
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage

MOST_BYTES = 700 * MIB
MOST_S = 20


def test_each_is_listed_or_refused_by_a_message(tmp_path: Path) -> None:
    wrong = {}
    for path, source in write_all(tmp_path):
        base, begin, rows, message = reset_peak(), time.monotonic(), 0, None
        try:
            rows = build_manifest(Storage(), [str(path)], str(path.parent / "m.parquet")).images_count
        except ManifestError as exc:
            message = str(exc)
        fits = (message is None) == (source.error is None) and (source.error or "") in (message or "")
        grown, spent = peak_bytes() - base, time.monotonic() - begin
        if not fits or rows != source.rows or grown > MOST_BYTES or spent > MOST_S or len(message or "") > 1500:
            wrong[source.name] = (rows, (message or "")[:1500], f"{grown / MIB:.0f} MiB", f"{spent:.1f} s")
    assert wrong == {}


def _reader(path: str) -> SourceReader:
    return SourceReader(Storage(), AllowedSources.of(SourcesConfig(), path))


def _cell(uri: str, row: int) -> ManifestRow:
    return ManifestRow(0, "a.png", f"{uri}#column=image&row={row}")


def test_an_image_that_many_rows_share_is_kept_once(tmp_path: Path) -> None:
    image = pa.array([{"bytes": b"x" * MIB, "path": "a"}]).take(pa.array([0] * 500))
    path = str(tmp_path / "shared.parquet")
    pq.write_table(pa.table({"image": image}), path, compression="zstd", dictionary_pagesize_limit=2**30)
    del image
    base = reset_peak()
    assert _reader(path).read(_cell(path, 499), 2**30) == b"x" * MIB
    assert peak_bytes() - base < 200 * MIB


def test_a_huge_row_group_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "group.parquet")
    pq.write_table(pa.table({"image": pa.array([{"bytes": bytes([n]) * MIB, "path": "a"} for n in range(8)])}), path)
    assert _reader(path).read(_cell(path, 3), 2**30) == b"\3" * MIB
    monkeypatch.setattr("anon_batch.manifest.bounded_parquet.MAX_GROUP_BYTES", 7 * MIB)
    with pytest.raises(FailedError, match=r"source_unreadable.*smaller row groups"):
        _reader(path).read(_cell(path, 3), 2**30)
    monkeypatch.setattr("anon_batch.manifest.bounded_parquet.MAX_GROUP_BYTES", 2**31)
    monkeypatch.setattr("anon_batch.manifest.bounded_parquet.MAX_GROUP_ROWS", 7)
    with pytest.raises(FailedError, match=r"source_unreadable.*8 rows"):
        _reader(path).read(_cell(path, 3), 2**30)


def test_the_command_line_shows_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text('{"uri": ' + "[" * 100_000)
    done = run_cli("manifest", str(path), "-o", str(tmp_path / "m.parquet"))
    assert done.returncode == 2
    assert "deep.jsonl, line 1: JSON that is nested too deep" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
