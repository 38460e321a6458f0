"""Read a bounded part of what a web server sends."""

from __future__ import annotations

import re
from typing import Any

import fsspec
from fsspec.asyn import sync

from anon_batch.errors import StorageError

_PIECE_BYTES = 2**20
_RANGE = re.compile(r"\s*bytes\s+(\d{1,19})-(\d{1,19})/(?:(\d{1,19})|\*)\s*", re.I)


def read(fs: fsspec.AbstractFileSystem, url: str, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`, fewer if the body ends before.

    fsspec would keep all that a server sends, and a server that ignores ranges may send without end.

    Args:
        fs: fsspec's file system for HTTP.
        url: the address.
        offset: of the first byte.
        length: in bytes.

    Raises:
        StorageError: the server ignores the range, sends another or a part of it, or redirects nowhere.
        Exception: of the driver.
    """
    if length <= 0:
        return b""
    data: bytes = sync(fs.loop, _read, fs, url, offset, length)
    return data


async def _read(fs: Any, url: str, offset: int, length: int) -> bytes:
    session = await fs.set_session()
    headers = {**fs.kwargs.get("headers", {}), "Range": f"bytes={offset}-{offset + length - 1}"}
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as response:
        if response.status == 404:
            raise FileNotFoundError(url)
        response.raise_for_status()
        if response.status >= 300:
            raise StorageError(f"the server answers {response.status}, but says not where the object is", url)
        if offset and response.status != 206:
            raise StorageError("the server ignores ranges; copy the object to a store that does not", url)
        if response.status == 206:
            _check_range(response.headers.get("Content-Range", ""), offset, length, url)
        pieces, left = [], length
        while left and (piece := await response.content.read(min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _check_range(sent: str, offset: int, length: int, url: str) -> None:
    """Check the header `Content-Range` of a partial answer, because some servers send other or fewer bytes than asked for."""
    found = _RANGE.fullmatch(sent)
    if found is None or int(found[1]) != offset:
        raise StorageError(
            "the server sends another range than asked for; copy the object to a store that does not", url
        )
    if found[3] is not None and int(found[2]) + 1 < min(int(found[3]), offset + length):
        raise StorageError(
            "the server sends a part of the range asked for; copy the object to a store that does not", url
        )
