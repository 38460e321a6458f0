"""Brace and glob patterns in addresses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from fsspec.utils import glob_translate

from anon_batch.errors import ManifestError
from anon_batch.storage import Storage, join

_MAX_EXPANSIONS = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")
_GLOB = re.compile(r"[*?\[]")


def has_pattern(address: str) -> bool:
    """Return whether the address has braces or glob characters (the `?` of an http URL starts its query and is not a glob)."""
    if address.startswith(("http://", "https://")):
        return bool(_BRACES.search(address))
    return bool(_GLOB.search(address) or _BRACES.search(address))


def expand_braces(pattern: str) -> list[str]:
    """Expand `a-{000..002}.tar` and `{a,b}/x` as a shell does, in order.

    Raises:
        ManifestError: more than 100,000 results, or a range that runs backwards.
    """
    pieces: list[list[str]] = []
    end = total = 0
    for match in _BRACES.finditer(pattern):
        pieces += [[pattern[end : match.start()]], _alternatives(match[1], pattern)]
        end = match.end()
        total = max(total, 1) * len(pieces[-1])
        if total > _MAX_EXPANSIONS:
            raise ManifestError(
                f"{pattern}: the braces expand to more than {_MAX_EXPANSIONS:,} addresses; use a glob (*)"
            )
    pieces.append([pattern[end:]])
    return ["".join(parts) for parts in itertools.product(*pieces)]


def _alternatives(body: str, pattern: str) -> list[str]:
    if found := _RANGE.match(body):
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise ManifestError(f"{pattern}: the range {{{body}}} runs backwards")
        if last - first >= _MAX_EXPANSIONS:
            raise ManifestError(
                f"{pattern}: the braces expand to more than {_MAX_EXPANSIONS:,} addresses; use a glob (*)"
            )
        width = max(len(found[1]), len(found[2])) if "0" in (found[1][0], found[2][0]) else 0
        return [str(n).zfill(width) for n in range(first, last + 1)]
    return body.split(",") if "," in body else [f"{{{body}}}"]


def literal_folder(pattern: str) -> str:
    """Return the folder that the pattern names before its first special character."""
    cut = _GLOB.search(pattern)
    head = pattern[: cut.start()] if cut else pattern
    folder = head.rpartition("/")[0]
    return folder or ("/" if head.startswith("/") else ".")


def key_pattern(pattern: str, folder: str) -> str:
    """Return the regular expression that keys below `folder` match when their address matches the glob."""
    rest = pattern[len(folder) :].lstrip("/") if pattern.startswith(folder) else pattern
    return str(glob_translate(rest))


def glob(storage: Storage, pattern: str) -> Iterator[str]:
    """Yield the addresses of the objects that match a glob; a pattern without special characters is an address itself."""
    if not _GLOB.search(pattern):
        yield pattern
        return
    folder = literal_folder(pattern)
    fits = re.compile(key_pattern(pattern, folder))
    for info in storage.list(folder):
        if fits.match(info.key):
            yield join(folder, info.key)
