"""Whether the pictures that a part names are there, and hold what it says and nothing else."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from anon_batch.config import LimitsConfig
from anon_batch.errors import ObjectNotFoundError, RowError, StorageError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.storage import Storage, join

_NO_LIMITS = LimitsConfig(max_pixels=2**40, max_bytes=2**40)

Members = Mapping[str, Mapping[str, bytes]]


def check_pictures(
    storage: Storage,
    output: str,
    rows: Sequence[Mapping[str, Any]],
    shard_key: str,
    shard_sha256: str,
    pool: ThreadPoolExecutor,
) -> Iterator[list[str]]:
    """Reads every picture of a part.

    Args:
        storage: where the release lies.
        output: its address.
        rows: provenance rows with an output.
        shard_key: of the shard file that the part's attempt wrote; the layout `files` has none.
        shard_sha256: of that file, empty where there is none.
        pool: threads to check on.

    Yields:
        Faults of the shard file; then those of each picture.
    """
    in_shards = [row for row in rows if row["member"] is not None]
    others = sorted({row["output"] for row in in_shards} - {shard_key})
    faults = [f"{key}: rows name it, but the part's attempt wrote {shard_key}" for key in others]
    members: dict[str, Mapping[str, bytes]] = {}
    if in_shards:
        named = {row["member"] for row in in_shards}
        members[shard_key] = _open_shard(storage, output, shard_key, shard_sha256, named, faults)
    yield faults
    yield from pool.map(partial(_check_picture, storage, output, members), rows)


def _open_shard(
    storage: Storage, output: str, key: str, sha256: str, named: set[str], faults: list[str]
) -> Mapping[str, bytes]:
    try:
        data = storage.read(join(output, key))
    except ObjectNotFoundError:
        faults.append(f"{key}: missing")
        return {}
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        faults.append(f"{key}: sha256 is {found}, its part says {sha256 or 'nothing'}")
    members: dict[str, bytes] = {}
    try:
        for name, content in _tar_members(data) if key.endswith(".tar") else _parquet_members(data):
            if name in members:
                faults.append(f"{key}: member {name} is there twice")
            members[name] = content
    except Exception as exc:  # a damaged file may break its reader in any way
        faults.append(f"{key}: damaged ({type(exc).__name__}: {exc})")
    strays = set(members) - named - {f"{name.rpartition('.')[0]}.json" for name in named}
    faults += [f"{key}: member {stray} is in no provenance row" for stray in sorted(strays)]
    return members


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            yield info.name, b"" if file is None else file.read()


def _parquet_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    for cell in pq.read_table(io.BytesIO(data), columns=["image"]).column("image").to_pylist():
        yield cell["path"], cell["bytes"]


def _check_picture(storage: Storage, output: str, members: Members, row: Mapping[str, Any]) -> list[str]:
    name = row["output"] if row["member"] is None else f"{row['output']}:{row['member']}"
    try:
        data = storage.read(join(output, row["output"])) if row["member"] is None else None
        data = members[row["output"]][row["member"]] if data is None else data
    except (ObjectNotFoundError, KeyError):
        return [f"{name}: missing"]
    except StorageError as exc:
        return [f"{name}: cannot be read ({exc})"]
    if (sha256 := hashlib.sha256(data).hexdigest()) != row["sha256"]:
        return [f"{name}: sha256 is {sha256}, provenance says {row['sha256']}"]
    faults = [f"{name}: carries {item}" for item in inspect(data)]
    try:
        picture = decode(row["image_id"], data, _NO_LIMITS)
    except RowError as exc:
        return [*faults, f"{name}: does not decode ({exc})"]
    if (picture.width, picture.height) != (row["width"], row["height"]):
        faults.append(f"{name}: {picture.width}x{picture.height}, provenance says {row['width']}x{row['height']}")
    return faults
