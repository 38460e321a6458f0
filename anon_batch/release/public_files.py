"""The digests of all public files of a release but its images, which the provenance holds the digests of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from anon_batch.formats import layout
from anon_batch.formats.release import Release

_READERS = 16


def hash_public_files(release: Release) -> dict[str, str]:
    """Return key below OUTPUT -> SHA-256, by sorted key, of all files but images, shard files and the signature.

    Raises:
        StorageError: a file cannot be read.
    """

    def digest(key: str) -> str:
        return hashlib.sha256(release.read(key)).hexdigest()

    keys = sorted(_keys(release))
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(keys, pool.map(digest, keys), strict=True))


def _keys(release: Release) -> Iterator[str]:
    for info in release.objects(""):
        in_images = info.key.partition("/")[0] in (layout.IMAGES, layout.SHARDS)
        is_image = in_images and not layout.is_images_metadata(info.key)
        if not is_image and info.key != layout.ATTESTATION:
            yield info.key
