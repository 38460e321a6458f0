"""A TCP relay in threads: from one network namespace into another, with connections that can be cut."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

import namespaces

_RESET = struct.pack("ii", 1, 0)  # close sends RST


class End(NamedTuple):
    """Where a relay listens or connects.

    Args:
        host, port: port 0 to listen on any.
        namespace: None for that of this process.
    """

    host: str
    port: int
    namespace: str | None = None


class Relay:
    """Passes on every connection until the block ends. Use it as a context manager.

    Args:
        listens: where clients connect.
        connects: where they are passed on to.

    Attributes:
        listens, connects: as given.
        port: on which it listens.
        accepted: number of connections so far.
    """

    def __init__(self, listens: End, connects: End) -> None:
        self.listens, self.connects = listens, connects
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._refuses = False
        self.port = self.accepted = 0

    def __enter__(self) -> Relay:
        threading.Thread(target=self._listen, name="relay", daemon=True).start()
        assert self._ready.wait(10), f"the relay cannot listen at {self.listens}"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    @property
    def url(self) -> str:
        return f"http://{self.listens.host}:{self.port}"

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            end.close()
        return len(ends) // 2

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Cut all connections and reset new ones at once, for the duration of the block."""
        self._refuses = True
        self.cut()
        yield
        self._refuses = False

    def _listen(self) -> None:
        if self.listens.namespace is not None:
            namespaces.enter(self.listens.namespace)
        self._listener = socket.create_server((self.listens.host, self.listens.port))
        self.port = self._listener.getsockname()[1]
        self._ready.set()
        with contextlib.suppress(OSError):  # closed when the block ends
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), name="relay", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            assert not self._refuses
            if self.connects.namespace != self.listens.namespace:
                namespaces.enter(self.connects.namespace)
            server = socket.create_connection((self.connects.host, self.connects.port), timeout=10)
        except (OSError, AssertionError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client), name="relay", daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
