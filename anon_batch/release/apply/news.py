"""The new version, as a recipient has it: a release without its images will do, or its folder `versions` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.part_digests import hash_parts
from anon_batch.formats.release import Release
from anon_batch.formats.version_json import Version, check_chain
from anon_batch.release.signature.attestation import check_attestation
from anon_batch.storage import Storage, absolute


@dataclass(frozen=True, slots=True)
class News:
    """What is known of the new version.

    Args:
        release: the new release, or what there is of it.
        versions: all versions, in order, a chain.
        has_parts: whether the provenance of the last version is there too.
    """

    release: Release
    versions: Sequence[Version]
    has_parts: bool


def read_news(storage: Storage, uri: str, key: Ed25519PublicKey | None) -> News:
    """Read the new version, and check that it is what was signed.

    Args:
        storage: reads it.
        uri: of the new release, or of its folder `versions`.
        key: of the one who signed it; None checks no signature.

    Raises:
        ConfigError: there is no version, or another version of this package wrote it.
        IntegrityError: a version does not follow the one before, the provenance is of another version, or the signature is wrong.
    """
    release = Release(storage, absolute(uri.rstrip("/")).removesuffix(f"/{layout.VERSIONS}"))
    versions = release.versions
    if not versions:
        raise ConfigError(
            f"{uri}: no later version is here (no {layout.version_file(1)}); name the new release, or its folder "
            f"`{layout.VERSIONS}`. If that is the new release, nothing was erased from it"
        )
    if faults := list(check_chain(versions)):
        raise IntegrityError(f"{release.address(layout.VERSIONS)}: {faults[0]}")
    has_parts = bool(release.parts())
    if has_parts and hash_parts(release) != versions[-1].parts_sha256:
        raise IntegrityError(f"{release.uri}: {layout.PROVENANCE}/ holds other parts than version {len(versions)}")
    if key is not None:
        known = [layout.version_file(own.number) for own in versions]
        if faults := check_attestation(release, key, None if has_parts else known):
            raise IntegrityError(f"{release.uri}: {faults[0]}; nothing was changed")
    return News(release, versions, has_parts)
