"""Where fuzzing starts: small ordinary files, hostile ones, and what earlier fuzzing found."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hostile_files import image_corpus
from hostile_files.containers import sources
from hostile_files.ordinary import encode, pixels

FOUND = Path(__file__).parent.parent / "data" / "fuzz"
_MOST_BYTES = 8192
_KINDS = {".csv": 0, ".jsonl": 1, ".tar": 2, ".parquet": 3}


def seeds(target: str) -> Iterator[bytes]:
    """Yield the inputs that fuzzing of a target starts from."""
    yield from (path.read_bytes() for path in found_inputs(target))
    if target == "manifest":
        yield from _sources()
        return
    small = pixels(21, 18)
    for options in ({}, {"progressive": True}, {"quality": 40, "subsampling": 2}, {"restart_marker_blocks": 2}):
        yield encode("JPEG", small, **options)
    if target == "splice":
        return
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("WEBP", "RGBA"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB")):
        yield encode(kind, small, mode)
    yield from (file.data for file in image_corpus() if len(file.data) < _MOST_BYTES and file.group != "truncated")


def _sources() -> Iterator[bytes]:
    for source in sources():
        kind = _KINDS.get(Path(source.name).suffix)
        if kind is not None and len(source.data) < _MOST_BYTES and source.name != "rows.parquet":
            yield bytes([kind]) + source.data
    out = io.BytesIO()
    regions = [[{"x1": 1.0, "y1": 1.0, "x2": 5.0, "y2": 5.0, "label": "face"}], None]
    pq.write_table(pa.table({"image_id": ["a.png", "b.png"], "uri": ["a.png", "b.png"], "regions": regions}), out)
    yield bytes([4]) + out.getvalue()


def found_inputs(target: str) -> list[Path]:
    """Return the files of inputs that earlier fuzzing found worth keeping."""
    return sorted((FOUND / target).glob("*"))


def write_seeds(target: str, folder: Path) -> None:
    """Write the seeds of a target into a folder, unless it holds some."""
    if any(folder.iterdir()):
        return
    for number, data in enumerate(seeds(target)):
        (folder / f"seed-{number}").write_bytes(data)
