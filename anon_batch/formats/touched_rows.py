"""The rows that a patch does again, and why: LEDGER/patch/v<n>-<token>/rows.parquet. Private, deleted when the patch ends.

Written once, so that a patch which was interrupted goes on with the same rows, whatever was reviewed since.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.formats.verdicts_json import DrawnBox

_META_KEY = b"anon_batch"
_FORMAT = "1"
_BOX = pa.struct([*((name, pa.float64()) for name in ("x1", "y1", "x2", "y2")), ("label", pa.string())])
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("why", pa.string()),
        ("source_sha256", pa.string()),
        ("drawn", pa.list_(_BOX)),
    ]
)


@dataclass(frozen=True, slots=True)
class TouchedRow:
    """A row that is done again.

    Args:
        number: of the row in the release, from 0.
        why: `verdict`, `retry`, `detections` or `settings`.
        source_sha256: digest that the source must have; None if it may have changed, because nothing of it is published.
        drawn: boxes that people drew in it, ever.
    """

    number: int
    why: str
    source_sha256: str | None = None
    drawn: tuple[DrawnBox, ...] = ()


@dataclass(frozen=True, slots=True)
class TouchedRows:
    """What a search for rows found.

    Args:
        rows: in row order.
        unsearched: reason code -> published rows whose source could not be read again, so that they stay as they are.
    """

    rows: tuple[TouchedRow, ...] = ()
    unsearched: Mapping[str, int] = field(default_factory=dict)

    def to_parquet(self) -> bytes:
        """Return the content of the file; the same rows give the same bytes."""
        records = [
            {
                "row": own.number,
                "why": own.why,
                "source_sha256": own.source_sha256,
                "drawn": [dict(zip(("x1", "y1", "x2", "y2"), b.edges, strict=True), label=b.label) for b in own.drawn],
            }
            for own in self.rows
        ]
        meta = json.dumps({"version": _FORMAT, "unsearched": dict(sorted(self.unsearched.items()))})
        table = pa.Table.from_pylist(records, _SCHEMA).replace_schema_metadata({_META_KEY: meta.encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, data: bytes, uri: str) -> TouchedRows:
        """Read the file; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged.
        """
        try:
            table = read_parquet(data, checksums=True)
            meta = json.loads((table.schema.metadata or {})[_META_KEY])
            if meta["version"] != _FORMAT or not table.schema.equals(_SCHEMA):
                raise ValueError("of another version of anon-batch")
            return cls(_rows(table.to_pylist()), dict(meta["unsearched"]))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None


def _rows(records: Sequence[Mapping[str, object]]) -> tuple[TouchedRow, ...]:
    rows = []
    for own in records:
        boxes = own["drawn"]
        if not isinstance(boxes, list):
            raise TypeError("drawn must be a list")
        drawn = tuple(DrawnBox(**box) for box in boxes)
        rows.append(TouchedRow(int(str(own["row"])), str(own["why"]), _text(own["source_sha256"]), drawn))
    return tuple(rows)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
