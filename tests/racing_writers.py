"""Writers that race to create one object."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from anon_batch.errors import ObjectExistsError
from anon_batch.storage import Storage

WRITERS = 16


def race_to_create(uri: str, storage_of: Callable[[], Storage]) -> list[bytes]:
    """Let each writer put its own bytes at `uri` if nothing is there; return the bytes of those that succeeded."""
    start, wins = threading.Barrier(WRITERS), list[bytes]()

    def create(number: int) -> None:
        storage, body = storage_of(), b"%04d" % number * 5_000
        start.wait(30)
        try:
            storage.put_if_absent(uri, body)
        except ObjectExistsError:
            return
        wins.append(body)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(create, range(WRITERS)))
    return wins
