"""What survives an erasure in buckets: earlier versions of objects that held erased rows. List them, and delete them.

A bucket with versions keeps what is deleted or written over. Only S3 can be asked, and nobody about snapshots, backups, caches
and copies.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from anon_batch.errors import StorageError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import now
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.shards import holds_any
from anon_batch.storage import ObjectVersion, RefusedVersion, is_local

SURVIVORS_VERSION = 1
Known = Literal["asked", "local disk", "other store", "refused"]
EXPLANATIONS: dict[Known, str] = {
    "asked": "its bucket was asked for all earlier versions",
    "local disk": "a local disk cannot say whether snapshots or backups hold earlier files",
    "other store": "only S3 is asked for earlier versions; ask this store yourself",
    "refused": "its bucket does not list versions to you (right s3:ListBucketVersions), so nobody can say what it holds",
}
# Which hold no row: numbers, versions of releases and random names.
_NUMBERS_ALONE = {
    True: frozenset({layout.LEDGER_PLAN, layout.LEDGER_RUN_KEY, layout.LEDGER_SURVIVORS, layout.LEDGER_PERSONS_JSON}),
    False: frozenset({layout.RUN, layout.STATS, layout.GATES, layout.EVALUATION, layout.REVIEW, layout.DESTROYED}),
}
_FOLDERS_OF_NUMBERS = frozenset({layout.VERSIONS, layout.LEDGER_ATTEMPTS})
_BY_SHARD = frozenset({layout.PROVENANCE, layout.SHARDS, layout.LEDGER_AUDIT, layout.LEDGER_ROWS})


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What one folder holds of erased rows beside its current objects.

    Args:
        uri: of the folder.
        known: whether its store was asked.
        versions: earlier versions, and marks of deletions, whose keys may name erased images.
    """

    uri: str
    known: Known
    versions: Sequence[ObjectVersion] = ()


def list_survivors(release: Release, ledger: Ledger) -> tuple[Place, Place]:
    """Return what survives of all rows that were erased from a release, below OUTPUT and below the ledger.

    Raises:
        StorageError: a store cannot be reached.
    """
    rows = sorted(own.row for version in release.versions for own in version.tombstones)
    return _list(release, rows, is_ledger=False), _list(ledger, rows, is_ledger=True)


def purge(release: Release, ledger: Ledger, places: Sequence[Place]) -> list[RefusedVersion]:
    """Delete what survives for good; return what a store refused to delete.

    Raises:
        StorageError: a store cannot be reached.
    """
    refused: list[RefusedVersion] = []
    for folder, place in zip((release, ledger), places, strict=True):
        if not place.versions:
            continue
        try:
            refused += folder.storage.delete_versions(folder.uri, place.versions)
        except StorageError as exc:
            if exc.retryable:
                raise
            refused += [RefusedVersion(own, exc.message) for own in place.versions]
    return refused


def write_survivors(ledger: Ledger, version: int, places: Sequence[Place]) -> str:
    """Write LEDGER/survivors.json; return its address. Because names of images may be ids, it holds their versions alone."""
    content = {
        "version": SURVIVORS_VERSION,
        "checked_at": now(),
        "release_version": version,
        "places": [
            {
                "uri": own.uri,
                "says": EXPLANATIONS[own.known],
                "versions": None if own.known != "asked" else [_to_json(one) for one in own.versions],
            }
            for own in places
        ],
    }
    uri = ledger.address(layout.LEDGER_SURVIVORS)
    ledger.storage.put(uri, json.dumps(content, indent=1).encode())
    return uri


def _to_json(own: ObjectVersion) -> dict[str, object]:
    return {
        "key": f"{layout.IMAGES}/" if _is_image(own.key) else own.key,
        "version_id": own.version_id,
        "is_marker": own.is_marker,
    }


def _list(folder: StoredFolder, rows: Sequence[int], *, is_ledger: bool) -> Place:
    found = folder.storage.versions(folder.uri, lambda own: not own.is_current)
    if found is None:
        known: Known = "other store"
        if is_local(folder.uri):
            known = "local disk"
        elif folder.uri.startswith(("s3://", "s3a://")):
            known = "refused"
        return Place(folder.uri, known)
    about = [own for own in found if _may_hold(own.key, rows, is_ledger=is_ledger)]
    images = {own.key for own in about if _is_image(own.key)}
    if images:  # which a later attempt wrote over are of rows that are still there
        current = _current(folder, images.__contains__)
        about = [own for own in about if own.key not in current]
    return Place(folder.uri, "asked", about)


def _current(folder: StoredFolder, wanted: Callable[[str], bool]) -> set[str]:
    found: Iterable[ObjectVersion] = (
        folder.storage.versions(folder.uri, lambda own: own.is_current and wanted(own.key)) or ()
    )
    return {own.key for own in found}


def _is_image(key: str) -> bool:
    return key.startswith(f"{layout.IMAGES}/") and not layout.is_images_metadata(key)


def _may_hold(key: str, rows: Sequence[int], *, is_ledger: bool) -> bool:
    """Return whether an earlier version of an object may hold something of one of these rows; what nobody knows may."""
    folder, _, name = key.partition("/")
    if key in _NUMBERS_ALONE[is_ledger] or folder in _FOLDERS_OF_NUMBERS:
        return False
    if folder in _BY_SHARD and (spec := layout.parse_shards_file(name.rpartition("/")[2])) is not None:
        return holds_any(spec, rows)
    return True
