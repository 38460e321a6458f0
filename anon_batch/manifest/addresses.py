"""Addresses inside a manifest: relative to a base, or a cell of a Parquet file."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.storage import absolute, is_local, join

HERE = "."  # base_uri: the folder of the manifest itself

_CELL = re.compile(r"^(?P<uri>.+)#column=(?P<column>[^&#]+)&row=(?P<row>\d+)$", re.DOTALL)
_ABSOLUTE = r"^(/|~/)|://|::"
_FILE_SCHEME = r"^(?i:file|local)://"
_UPPER_SCHEME = r"^[A-Za-z0-9+.-]*[A-Z][A-Za-z0-9+.-]*://"
_SCHEMES = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")


class Cell(NamedTuple):
    """An image in a Parquet file: its `bytes` are in row `row`, from 0, of the struct column `column`."""

    uri: str
    column: str
    row: int


def cell_prefix(uri: str, column: str) -> str:
    """Return the address of a cell without its row number.

    A cell's address is `FILE.parquet#column=image&row=17`; the column's name is percent-encoded.
    """
    return f"{uri}#column={quote(column, safe='')}&row="


def parse_cell(uri: str) -> Cell | None:
    """Return the cell that an address names; None for any other address."""
    match = _CELL.match(uri)
    return Cell(match["uri"], unquote(match["column"]), int(match["row"])) if match else None


def folder_of(uri: str) -> str:
    """Return the absolute address of the folder that holds an object."""
    return posixpath.split(absolute(uri))[0]


def base_of(manifest_uri: str, base_uri: str | None) -> str:
    """Return the absolute address that relative addresses of a manifest start from.

    Args:
        manifest_uri: address of the manifest.
        base_uri: from its key-value metadata; None or "." is its own folder, a relative one starts there.
    """
    folder = folder_of(manifest_uri)
    if base_uri in (None, "", HERE):
        return folder
    if is_local(str(base_uri)) and not re.match(f"{_ABSOLUTE}|{_FILE_SCHEME}", str(base_uri)):
        return join(folder, str(base_uri))
    return absolute(str(base_uri))


def resolve(uris: pa.Array, base: str) -> pa.Array:
    """Return absolute addresses of a string array: relative ones start from `base`; null and empty stay."""
    bare = pc.replace_substring_regex(uris, _FILE_SCHEME, "")
    keep = pc.or_(pc.match_substring_regex(bare, _ABSOLUTE), pc.equal(pc.utf8_length(bare), 0))
    joined = pc.binary_join_element_wise(base.rstrip("/"), bare, "/")
    out = pc.if_else(keep, bare, joined)
    if pc.any(pc.starts_with(out, "~/")).as_py():
        home = os.path.expanduser("~").replace("\\", "\\\\")
        out = pc.replace_substring_regex(out, "^~", home)
    return _lower_schemes(out)


def _lower_schemes(uris: pa.Array) -> pa.Array:
    """Return addresses with usual protocols in lower case, because lists of the web hold `HTTP://`, which means the same."""
    if not pc.any(pc.match_substring_regex(uris, _UPPER_SCHEME)).as_py():
        return uris
    for scheme in _SCHEMES:
        uris = pc.replace_substring_regex(uris, f"(?i)^{scheme}://", f"{scheme}://")
    return uris


def relative(uris: pa.Array, prefixes: Sequence[tuple[str, str]]) -> pa.Array:
    """Rewrite the addresses below a prefix; the others stay.

    Args:
        uris: absolute.
        prefixes: (absolute folder, its replacement: "" or a relative folder); the first that matches is used.
    """
    out = uris
    done = pa.array([False] * len(uris)) if len(uris) else pa.array([], pa.bool_())
    for folder, replacement in prefixes:
        prefix = f"{folder.rstrip('/')}/"
        rest = pc.utf8_slice_codeunits(uris, len(prefix))
        # a folder called `~`, or `::` in a name, would have another meaning at the front
        fits = pc.and_(pc.starts_with(uris, prefix), pc.invert(pc.match_substring_regex(rest, _ABSOLUTE)))
        fits = pc.and_(pc.fill_null(fits, False), pc.invert(done))
        shortened = pc.binary_join_element_wise(replacement, rest, "/") if replacement else rest
        out = pc.if_else(fits, shortened, out)
        done = pc.or_(done, fits)
    return out
