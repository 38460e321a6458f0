"""Parts of the ledger with sealed originals or indexed faces: ciphertexts in one, their keys in another.

They are apart, because keys are wrapped again and destroyed without a ciphertext being read. Neither opens without a recipient's
private key.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.formats.part import column
from anon_batch.sealing.envelope import Place, Sealed, WrappedKek, check_need

_VERSION = 1
_META_KEY = b"anon_batch"
_PLACE = (
    column("image_id", pa.string(), "the manifest's id"),
    column("region", pa.int32(), "index in the published regions; -1: the whole image"),
)
SEALED_SCHEMA = pa.schema(
    [
        *_PLACE,
        column("codec", pa.string(), "how the plaintext is written: jpeg-dct-v1, file-v1, or srp512-v1 for faces"),
        column("ciphertext", pa.binary(), "AES-256-GCM with the region's data key, tag included"),
    ]
)
SEAL_KEYS_SCHEMA = pa.schema(
    [
        *_PLACE,
        column("kek_id", pa.string(), "name of the key that wraps the data key; the metadata holds it, encrypted"),
        column("wrapped_key", pa.binary(), "the region's data key, encrypted"),
        column("commitment", pa.binary(), "to the data key, 16 bytes"),
    ]
)


class SealedShard(NamedTuple):
    """What is sealed of one shard.

    Args:
        records: one for each region or file, in row order.
        keks: the keys that wrap their data keys, encrypted to the recipients.
    """

    records: tuple[Sealed, ...]
    keks: tuple[WrappedKek, ...]

    def only(self, image_ids: Iterable[str]) -> SealedShard:
        """Return what is sealed of some images."""
        kept = set(image_ids)
        return self.without({own.place.image_id for own in self.records} - kept)

    def with_(self, other: SealedShard) -> SealedShard:
        """Return both together."""
        known = {kek.kek_id for kek in self.keks}
        keks = tuple(kek for kek in other.keks if kek.kek_id not in known)
        return SealedShard((*self.records, *other.records), (*self.keks, *keks))

    def without(self, image_ids: Iterable[str]) -> SealedShard:
        """Return what is left without some images, and without keys that wrap nothing any more."""
        gone = set(image_ids)
        records = tuple(own for own in self.records if own.place.image_id not in gone)
        used = {own.kek_id for own in records}
        return SealedShard(records, tuple(kek for kek in self.keks if kek.kek_id in used))


def write_ciphertexts(shard: SealedShard) -> bytes:
    """Return the part with the ciphertexts."""
    rows = [(*own.place[1:], own.ciphertext) for own in shard.records]
    return _to_parquet(rows, SEALED_SCHEMA, {})


def write_keys(shard: SealedShard) -> bytes:
    """Return the part with the wrapped keys."""
    rows = [
        (own.place.image_id, own.place.region, own.kek_id, own.wrapped_key, own.commitment) for own in shard.records
    ]
    keks = [
        {
            "kek_id": kek.kek_id,
            "run_id": kek.run_id,
            "wrapped": {k: _encode(v) for k, v in sorted(kek.wrapped.items())},
            **({} if kek.need == "any" else {"need": kek.need}),
        }
        for kek in shard.keks
    ]
    return _to_parquet(rows, SEAL_KEYS_SCHEMA, {"keks": keks})


def parse_sealed(ciphertexts: bytes, keys: bytes, run_id: str, uri: str, sealed_uri: str) -> SealedShard:
    """Parse both parts of a shard.

    Args:
        ciphertexts: the part with the ciphertexts.
        keys: the part with the keys.
        run_id: of the release.
        uri: address of the part with the keys, for messages.
        sealed_uri: that of the part with the ciphertexts.

    Raises:
        IntegrityError: a part is damaged, or they are not of the same shard.
    """
    table, _ = _read(ciphertexts, SEALED_SCHEMA, sealed_uri)
    wrapped, meta = _read(keys, SEAL_KEYS_SCHEMA, uri)
    if table.select(["image_id", "region"]) != wrapped.select(["image_id", "region"]):
        raise IntegrityError(f"{uri}: keys of other regions than are sealed; restore both parts from the same copy")
    records = tuple(
        Sealed(
            Place(run_id, own["image_id"], own["region"], own["codec"]),
            key["kek_id"],
            own["ciphertext"],
            key["wrapped_key"],
            key["commitment"],
        )
        for own, key in zip(table.to_pylist(), wrapped.to_pylist(), strict=True)
    )
    try:
        keks = tuple(
            WrappedKek(
                str(kek["kek_id"]),
                str(kek["run_id"]),
                {str(k): _decode(v) for k, v in kek["wrapped"].items()},
                check_need(kek.get("need", "any")),
            )
            for kek in meta["keks"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise IntegrityError(f"{uri}: damaged ({exc})") from None
    return SealedShard(records, keks)


def read_places(keys: bytes, uri: str) -> list[tuple[str, int]]:
    """Return (image id, region) of everything that is sealed, from the part with the keys alone.

    Raises:
        IntegrityError: it is damaged.
    """
    table, _ = _read(keys, SEAL_KEYS_SCHEMA, uri)
    return list(zip(table.column("image_id").to_pylist(), table.column("region").to_pylist(), strict=True))


def _to_parquet(rows: Sequence[tuple[Any, ...]], schema: pa.Schema, meta: Mapping[str, Any]) -> bytes:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    plain = pa.schema([pa.field(own.name, own.type) for own in schema])
    table = pa.table([pa.array(own, field.type) for own, field in zip(columns, plain, strict=True)], schema=plain)
    sink = io.BytesIO()
    text = json.dumps({"version": _VERSION, **meta}, sort_keys=True)
    pq.write_table(
        table.replace_schema_metadata({_META_KEY: text.encode()}), sink, compression="none", write_page_checksum=True
    )
    return sink.getvalue()


def _read(data: bytes, schema: pa.Schema, uri: str) -> tuple[pa.Table, dict[str, Any]]:
    try:
        table = read_parquet(data, checksums=True)
        table.validate(full=True)
        meta: dict[str, Any] = json.loads((table.schema.metadata or {})[_META_KEY])
        if meta.pop("version") != _VERSION:
            raise IntegrityError(f"{uri}: another version of anon-batch wrote it")
        if [(f.name, f.type) for f in table.schema] != [(f.name, f.type) for f in schema]:
            raise IntegrityError(f"{uri}: not such a part, its columns are {', '.join(table.schema.names)}")
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as exc:
        raise IntegrityError(f"{uri}: damaged ({str(exc).strip()})") from None
    return table, meta


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
