"""One digest over all provenance parts of a release, by which a copy of a version is recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.shards import effective

_READERS = 16


def hash_parts(release: Release, rewritten: Mapping[str, int] = MappingProxyType({})) -> str:
    """Return the digest of the lines that `sha256sum` would print for all parts that count, sorted by key.

    Args:
        release: holds them.
        rewritten: name of a shard -> version whose part counts; all others are those of the current version.

    Raises:
        ObjectNotFoundError: a part is missing.
        StorageError: storage fails or refuses.
    """

    def line(key: str) -> str:
        return f"{hashlib.sha256(release.read(key)).hexdigest()}  {key}\n"

    keys = []
    for spec in effective(release.parts()):
        version = rewritten.get(spec.name)
        keys.append(release.part_key(spec) if version is None else layout.provenance_part(spec.name, version))
    with ThreadPoolExecutor(_READERS) as pool:
        return hashlib.sha256("".join(pool.map(line, sorted(keys))).encode()).hexdigest()
