"""Parts of the ledger with faces and their features, encrypted, because by a feature a person can be found elsewhere."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anon_batch.errors import IntegrityError
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.records import ShardSpec

_NONCE_BYTES = 12
_META_KEY = b"anon_batch"
FACES_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # of the manifest
        ("image_id", pa.string()),
        ("face", pa.int32()),  # index among the image's detections
        *((edge, pa.float32()) for edge in ("x1", "y1", "x2", "y2")),
        ("feature", pa.binary()),  # D float32 of length 1, little-endian; null for a face that cannot be compared
    ]
)


class FacesPart(NamedTuple):
    """Faces of some rows.

    Args:
        table: of FACES_SCHEMA.
        unread: why -> rows that could not be searched.
    """

    table: pa.Table
    unread: Mapping[str, int]


def seal_faces(part: FacesPart, spec: ShardSpec, pass_id: str, key: bytes) -> bytes:
    """Encrypt a part with AES-256-GCM, bound to its rows and its pass."""
    sink = io.BytesIO()
    meta = {_META_KEY: json.dumps(dict(part.unread)).encode()}
    pq.write_table(part.table.replace_schema_metadata(meta), sink, compression="zstd")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, sink.getvalue(), _about(spec, pass_id))


def open_faces(data: bytes, spec: ShardSpec, pass_id: str, key: bytes, uri: str) -> FacesPart:
    """Decrypt a part.

    Raises:
        IntegrityError: another key or pass made it, or it was changed; `uri` is its address.
    """
    try:
        plain = AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _about(spec, pass_id))
        table = read_parquet(plain)
    except (InvalidTag, ValueError, pa.ArrowException, OSError):
        raise IntegrityError(
            f"{uri}: damaged, or of another pass; `anon-batch identify JOB --discard` starts again"
        ) from None
    return FacesPart(table, json.loads((table.schema.metadata or {}).get(_META_KEY, b"{}")))


def _about(spec: ShardSpec, pass_id: str) -> bytes:
    return json.dumps(["anon-batch faces 1", pass_id, spec.start, spec.count]).encode()
