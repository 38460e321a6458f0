"""Read a bounded part of what a web server sends."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.asyn import sync

from anon_batch.errors import StorageError

_PIECE_BYTES = 2**20


def read(fs: fsspec.AbstractFileSystem, url: str, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`, fewer if the body ends before.

    fsspec would keep all that a server sends, and a server that ignores ranges may send without end.

    Args:
        fs: fsspec's file system for HTTP.
        url: the address.
        offset: of the first byte.
        length: in bytes.

    Raises:
        StorageError: the server ignores the range and would send other bytes.
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
        if offset and response.status != 206:
            raise StorageError("the server ignores ranges; copy the object to a store that does not", url)
        pieces, left = [], length
        while left and (piece := await response.content.read(min(left, _PIECE_BYTES))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
