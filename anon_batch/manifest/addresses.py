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

HERE = "."  # base_uri: the folder that the manifest itself lies in

_CELL = re.compile(r"^(?P<uri>.+)#column=(?P<column>[^&#]+)&row=(?P<row>\d+)$", re.DOTALL)
_ABSOLUTE = r"^(/|~/)|://|::"
_FILE_SCHEME = r"^(file|local)://"


class Cell(NamedTuple):
    """A picture in a Parquet file: its `bytes` lie in row `row`, from 0, of the struct column `column`."""

    uri: str
    column: str
    row: int


def cell_uri(uri: str, column: str, row: int) -> str:
    """The address of a cell, `FILE.parquet#column=image&row=17`; the column's name is percent-encoded."""
    return f"{cell_prefix(uri, column)}{row}"


def cell_prefix(uri: str, column: str) -> str:
    """The address of a cell without its row number."""
    return f"{uri}#column={quote(column, safe='')}&row="


def parse_cell(uri: str) -> Cell | None:
    """The cell that an address names; None for any other address."""
    match = _CELL.match(uri)
    return Cell(match["uri"], unquote(match["column"]), int(match["row"])) if match else None


def folder_of(uri: str) -> str:
    """Address of the folder that an object lies in, absolute."""
    return posixpath.split(absolute(uri))[0]


def base_of(manifest_uri: str, base_uri: str | None) -> str:
    """The absolute address that relative addresses of a manifest start from.

    Args:
        manifest_uri: where the manifest lies.
        base_uri: from its key-value metadata; None or "." is its own folder, a relative one starts there.
    """
    folder = folder_of(manifest_uri)
    if base_uri in (None, "", HERE):
        return folder
    if is_local(str(base_uri)) and not re.match(f"{_ABSOLUTE}|{_FILE_SCHEME}", str(base_uri)):
        return join(folder, str(base_uri))
    return absolute(str(base_uri))


def resolve(uris: pa.Array, base: str) -> pa.Array:
    """Absolute addresses of a string array: what is relative starts from `base`; null and empty stay."""
    bare = pc.replace_substring_regex(uris, _FILE_SCHEME, "")
    keep = pc.or_(pc.match_substring_regex(bare, _ABSOLUTE), pc.equal(pc.utf8_length(bare), 0))
    joined = pc.binary_join_element_wise(base.rstrip("/"), bare, "/")
    out = pc.if_else(keep, bare, joined)
    if pc.any(pc.starts_with(out, "~/")).as_py():
        home = os.path.expanduser("~").replace("\\", "\\\\")
        out = pc.replace_substring_regex(out, "^~", home)
    return out


def relative(uris: pa.Array, prefixes: Sequence[tuple[str, str]]) -> pa.Array:
    """Addresses that lie below a prefix, rewritten; the others stay.

    Args:
        uris: absolute.
        prefixes: (absolute folder, what stands for it: "" or a relative folder); the first that fits counts.
    """
    out = uris
    done = pa.array([False] * len(uris)) if len(uris) else pa.array([], pa.bool_())
    for folder, stand_in in prefixes:
        prefix = f"{folder.rstrip('/')}/"
        rest = pc.utf8_slice_codeunits(uris, len(prefix))
        # a folder called `~`, or `::` in a name, would read as something else once it stood at the front
        fits = pc.and_(pc.starts_with(uris, prefix), pc.invert(pc.match_substring_regex(rest, _ABSOLUTE)))
        fits = pc.and_(pc.fill_null(fits, False), pc.invert(done))
        shortened = pc.binary_join_element_wise(stand_in, rest, "/") if stand_in else rest
        out = pc.if_else(fits, shortened, out)
        done = pc.or_(done, fits)
    return out
