"""Parquet is read without Arrow's own threads, which may abort a process at its end."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import anon_batch
from anon_batch.formats.parquet_file import read_parquet

PACKAGE = Path(anon_batch.__file__).parent
READERS = {"read_table", "iter_batches", "read_row_group", "read_row_groups_of", "to_table"}


def _parquet(rows: int = 3) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(rows)), "b": ["x"] * rows}), buffer, write_page_checksum=True)
    return buffer.getvalue()


def test_a_table_or_some_of_its_columns_are_read() -> None:
    assert read_parquet(_parquet()).to_pydict() == {"a": [0, 1, 2], "b": ["x"] * 3}
    assert read_parquet(_parquet(), ["b"], checksums=True).column_names == ["b"]
    with pytest.raises(pa.ArrowException):
        read_parquet(b"no Parquet file")


def test_every_reader_of_the_package_says_that_it_needs_no_threads() -> None:
    threaded = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
                words = {keyword.arg for keyword in node.keywords}
                if "use_threads" not in words and None not in words:
                    threaded.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert threaded == []


def test_reading_starts_no_thread_of_arrow(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(_parquet(100_000))
    code = (
        "import sys, os; from pathlib import Path; from anon_batch.formats.parquet_file import read_parquet\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); read_parquet(Path(sys.argv[1]).read_bytes()); print(count() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "p")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
