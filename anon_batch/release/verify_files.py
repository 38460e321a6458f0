"""Verify the images that a part names: each is there, has the right digest and size, and holds no metadata but its mark."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from anon_batch.errors import ObjectNotFoundError, RowError, StorageError
from anon_batch.formats.release import Release
from anon_batch.formats.shard_file import read_members
from anon_batch.formats.tar_shard import members_of
from anon_batch.imaging.decode import decode
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.release.c2pa.credentials import split_credentials

Members = Mapping[str, Mapping[str, bytes]]


def check_images(
    release: Release,
    rows: Sequence[Mapping[str, Any]],
    shard_key: str,
    shard_sha256: str,
    pool: ThreadPoolExecutor,
    *,
    mark_generated: bool,
    credentials: bool,
) -> Iterator[list[str]]:
    """Read every image of a part.

    Args:
        release: holds them.
        rows: provenance rows with an output.
        shard_key: of the shard file that the part's attempt wrote; not used by the layout `files`.
        shard_sha256: of that file; empty if the layout has none.
        pool: threads to check on.
        mark_generated: whether images with a synthetic region must hold the mark; all others must not.
        credentials: whether images with a synthetic region may hold Content Credentials.

    Yields:
        Faults of the shard file, then those of each image.
    """
    in_shards = [row for row in rows if row["member"] is not None]
    others = sorted({row["output"] for row in in_shards} - {shard_key})
    faults = [f"{key}: rows name it, but the part's attempt wrote {shard_key}" for key in others]
    members: dict[str, Mapping[str, bytes]] = {}
    if in_shards:
        named = {row["member"] for row in in_shards}
        members[shard_key] = _open_shard(release, shard_key, shard_sha256, named, faults)
    yield faults
    yield from pool.map(partial(_check_image, release, members, mark_generated, credentials), rows)


def _open_shard(release: Release, key: str, sha256: str, named: set[str], faults: list[str]) -> Mapping[str, bytes]:
    try:
        data = release.read(key)
    except ObjectNotFoundError:
        faults.append(f"{key}: missing")
        return {}
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        faults.append(f"{key}: sha256 is {found}, its part says {sha256 or 'nothing'}")
    members: dict[str, bytes] = {}
    try:
        for name, content in read_members(data, key):
            if name in members:
                faults.append(f"{key}: member {name} occurs twice")
            members[name] = content
    except Exception as exc:  # because a damaged file may break its reader in any way
        faults.append(f"{key}: damaged ({type(exc).__name__}: {exc})")
    orphans = set(members) - named - set().union(*map(members_of, named))
    faults += [f"{key}: member {orphan} is in no provenance row" for orphan in sorted(orphans)]
    return members


def _check_image(
    release: Release, members: Members, mark_generated: bool, credentials: bool, row: Mapping[str, Any]
) -> list[str]:
    name = row["output"] if row["member"] is None else f"{row['output']}:{row['member']}"
    try:
        data = release.read(row["output"]) if row["member"] is None else None
        data = members[row["output"]][row["member"]] if data is None else data
    except (ObjectNotFoundError, KeyError):
        return [f"{name}: missing"]
    except StorageError as exc:
        return [f"{name}: cannot be read ({exc})"]
    if (sha256 := hashlib.sha256(data).hexdigest()) != row["sha256"]:
        return [f"{name}: sha256 is {sha256}, provenance says {row['sha256']}"]
    synthetic = any(region["synthetic"] for region in row["regions"] or ())
    plain, found = split_credentials(data) if credentials and synthetic else (data, [])
    found += inspect(plain, marked=mark_generated and synthetic)
    faults = [f"{name}: carries {item}" for item in found]
    try:
        image = decode(row["image_id"], data)
    except RowError as exc:
        return [*faults, f"{name}: does not decode ({exc})"]
    if (image.width, image.height) != (row["width"], row["height"]):
        faults.append(f"{name}: {image.width}x{image.height}, provenance says {row['width']}x{row['height']}")
    return faults
