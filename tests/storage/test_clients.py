"""What fsspec's drivers print by themselves."""

from __future__ import annotations

import asyncio
import gc

import fsspec
import pytest
from fsspec.asyn import get_loop

from anon_batch.storage import clients

# Of what s3fs's and aiohttp's clients leave behind when a connection is cut while a body is sent.
LOST = ConnectionResetError("Cannot write to closing transport")


@pytest.mark.parametrize(
    ("error", "is_printed"), [(LOST, False), (TimeoutError(), False), (ValueError("of a bug"), True)]
)
def test_a_lost_connection_prints_nothing_besides_the_error_of_its_request(
    error: Exception, is_printed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clients.tune("http://127.0.0.1:1/file", fsspec.filesystem("http"))
    loop = get_loop()

    async def fail() -> None:
        raise error

    async def leave_behind() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait({task})
        del task
        gc.collect()

    asyncio.run_coroutine_threadsafe(leave_behind(), loop).result(30)
    assert ("never retrieved" in caplog.text) is is_printed
