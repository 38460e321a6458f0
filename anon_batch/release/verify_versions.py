"""Verify the versions of a release: each follows the one before, and the parts are those of the last one."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.part_digests import hash_parts
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.version_json import check_chain


def check_versions(release: Release, record: RunJson, erased: Collection[int]) -> Iterator[str]:
    """Yield what is wrong with the versions; nothing for a release that has only what the run made.

    Args:
        release: the release.
        record: its run.json.
        erased: numbers of the rows that the provenance calls erased.

    Raises:
        IntegrityError, ObjectNotFoundError: a part cannot be read.
    """
    try:
        versions = release.versions
    except (IntegrityError, ConfigError) as exc:
        yield str(exc)
        return
    tombstones = {own.row for version in versions for own in version.tombstones}
    yield from (f"row {row}: a version erased it, but it is there" for row in sorted(tombstones.difference(erased)))
    yield from (f"row {row}: erased, but no version says so" for row in sorted(set(erased) - tombstones))
    if not versions:
        return
    yield from (f"{layout.VERSIONS}/: {fault}" for fault in check_chain(versions))
    if versions[0].run_id != record.run_id:
        yield f"{layout.version_file(1)}: of run {versions[0].run_id}, not {record.run_id}"
    if hash_parts(release) != versions[-1].parts_sha256:
        yield f"{layout.version_file(len(versions))}: {layout.PROVENANCE}/ holds other parts than this version"
