"""Verify what `anon-batch release` wrote: all of it or nothing, and checksums that hold."""

from __future__ import annotations

from anon_batch.errors import IntegrityError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.release.checksums import check_checksums
from anon_batch.release.public_files import hash_public_files
from anon_batch.release.verification import Verification


def check_descriptions(release: Release, record: RunJson, result: Verification) -> None:
    """Check the files of `layout.WRITTEN_AT_RELEASE`, if any of them is there, and SHA256SUMS.

    Raises:
        StorageError: storage fails or refuses.
    """
    there = [key for key in layout.WRITTEN_AT_RELEASE if release.storage.exists(release.address(key))]
    if not there:
        return
    for key in sorted(set(layout.WRITTEN_AT_RELEASE) - set(there)):
        result.fault(
            f"{key}: missing, while {there[0]} is there: `anon-batch release` did not get to its end, or the file was "
            "deleted; run it again"
        )
    if layout.CHECKSUMS not in there:
        return  # nothing to compare with
    try:
        for fault in check_checksums(release, record, hash_public_files(release)):
            result.fault(fault)
    except (IntegrityError, ObjectNotFoundError) as exc:
        result.fault(f"{layout.CHECKSUMS}: not checked, because the provenance cannot be read ({exc})")
