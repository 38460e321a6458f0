"""SHA256SUMS: digests of the files of a release, as `sha256sum -c` reads them.

It lists every public file but itself and the signature, then the images in row order. Digests of images and shard files come from
the provenance, so that none is read again. In the layout `files`, a release of more than `MOST_IMAGES` images lists none of them,
because the file would not fit into memory: the provenance, which is listed, holds their digests.

Source: GNU coreutils manual, `md5sum invocation`: format of lines, escapes in names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.shards import effective

MOST_IMAGES = 2_000_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})
_AGAIN = "`anon-batch release` writes it again"
_SHOWN = 20


def write_checksums(release: Release, record: RunJson, digests: Mapping[str, str]) -> dict[str, str]:
    """Write SHA256SUMS of a finished release; return `digests` with its own.

    Args:
        release: holds the files.
        record: its run.json.
        digests: of all its public files, from `hash_public_files`.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    content = "".join(_lines(release, record, digests)).encode()
    release.put(layout.CHECKSUMS, content)
    return dict(sorted({**digests, layout.CHECKSUMS: hashlib.sha256(content).hexdigest()}.items()))


def check_checksums(release: Release, record: RunJson, digests: Mapping[str, str]) -> Iterator[str]:
    """Yield what SHA256SUMS says otherwise than the files and the provenance do; nothing if there is no SHA256SUMS.

    Args: as `write_checksums`.

    Raises: as `write_checksums`.
    """
    if layout.CHECKSUMS not in digests:
        return
    found = hashlib.sha256()
    for line in _lines(release, record, digests):
        found.update(line.encode())
    if found.hexdigest() == digests[layout.CHECKSUMS]:
        return
    listed = release.read(layout.CHECKSUMS).decode("utf-8", errors="replace").splitlines(keepends=True)
    faults = list(_differences(_by_name(listed), _by_name(_lines(release, record, digests))))
    yield from faults[:_SHOWN]
    if len(faults) > _SHOWN:
        yield f"{layout.CHECKSUMS}: and {len(faults) - _SHOWN:,} more such lines"
    if not faults:
        yield f"{layout.CHECKSUMS}: not as this package writes it; {_AGAIN}"


def _lines(release: Release, record: RunJson, digests: Mapping[str, str]) -> Iterator[str]:
    for key, digest in digests.items():
        if key != layout.CHECKSUMS:
            yield checksum_line(key, digest)
    images = sum((record.statuses or {}).get(status, 0) for status in ("anonymized", "clean"))
    specs = effective(release.parts())
    if record.layout != "files":
        for spec, meta in release.read_metas(specs):
            if meta.shard_sha256:
                yield checksum_line(layout.shard_file(spec.name, meta.attempt, record.layout), meta.shard_sha256)
    elif images <= MOST_IMAGES:
        for spec in specs:
            table = release.read_part(spec).table
            for key, digest in zip(*(table.column(name).to_pylist() for name in ("output", "sha256")), strict=True):
                if key is not None:
                    yield checksum_line(key, digest)


def checksum_line(name: str, digest: str) -> str:
    """Return the line of a file, as `sha256sum` prints it."""
    escaped = name.translate(_ESCAPES)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    """Return the name in each line, as it stands there -> the line."""
    return {line.partition("  ")[2].rstrip("\n") or line: line for line in lines}


def _differences(listed: Mapping[str, str], expected: Mapping[str, str]) -> Iterator[str]:
    for name, line in expected.items():
        if name not in listed:
            yield f"{layout.CHECKSUMS}: no line for {name}; {_AGAIN}"
        elif listed[name] != line:
            yield f"{name}: not as {layout.CHECKSUMS} says; if it was changed on purpose, {_AGAIN}"
    for name in listed:
        if name not in expected:
            yield f"{layout.CHECKSUMS}: names {name[:200]!r}, which is no file of the release; {_AGAIN}"
