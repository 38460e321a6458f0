"""Redirects and name servers lead to no host that the operator did not allow; nothing is sent there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import pytest

from anon_batch.config import SourcesConfig, StorageConfig
from anon_batch.errors import FailedError
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage


class Server(ThreadingHTTPServer):
    """Answer `/to/ADDRESS` with a redirect and everything else with bytes; remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", unquote(self.path.removeprefix("/to/")))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(2**16))
            return
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"image")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as found:
        yield found


def read(uri: str, *allow: str) -> bytes:
    reader = SourceReader(
        Storage(StorageConfig(retries=0)), AllowedSources.of(SourcesConfig(allow=allow or None), "/nowhere/m.parquet")
    )
    return reader.read(ManifestRow(0, "a", uri), 100)


def refused(uri: str, *allow: str) -> str:
    with pytest.raises(FailedError) as caught:
        read(uri, *allow)
    assert caught.value.reason == "source_refused"
    return caught.value.detail


def test_a_named_server_is_read_and_an_unnamed_one_is_not_asked(server: Server) -> None:
    assert read(f"{server.url}/a.jpg", f"{server.url}/") == b"image"
    assert "this machine" in refused(f"{server.url}/b.jpg")
    assert server.asked == ["/a.jpg"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "localhost", "[::ffff:127.0.0.1]"])
def test_a_redirect_to_another_server_is_not_followed(server: Server, other: Server, host: str) -> None:
    target = quote(f"http://{host}:{other.server_port}/secret", safe="")
    refused(f"{server.url}/to/{target}", f"{server.url}/")
    refused(f"{server.url}/to//to/{quote(target)}", f"{server.url}/")
    assert other.asked == []


def test_a_redirect_within_the_list_is_followed(server: Server, other: Server) -> None:
    assert read(f"{server.url}/to/{other.url}/a", f"{server.url}/", f"{other.url}/") == b"image"
    assert read(f"{server.url}/to//a", f"{server.url}/") == b"image"
    assert "sources.allow" in refused(f"{server.url}/to//a", f"{server.url}/to/"), "another folder of the same server"


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/", "file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_a_redirect_to_the_clouds_service_or_another_protocol_is_an_error(server: Server, target: str) -> None:
    with pytest.raises(Exception, match=r"sources\.allow|redirect|Redirect"):
        read(f"{server.url}/to/{target}", f"{server.url}/")


@pytest.mark.parametrize(
    ("address", "allow"),
    [
        ("127.0.0.1", ()),
        ("127.0.0.1", ("http://images.example.org:{port}/",)),
        ("169.254.169.254", ("http://images.example.org:{port}/",)),
        ("::1", ()),
        ("10.1.2.3", ()),
    ],
)
def test_a_name_that_resolves_to_this_machine_or_its_cloud_is_not_connected_to(
    server: Server, monkeypatch: pytest.MonkeyPatch, address: str, allow: tuple[str, ...]
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **options: real(address if host == "images.example.org" else host, *rest, **options),
    )
    entries = [entry.format(port=server.server_port) for entry in allow]
    assert "images.example.org leads to" in refused(f"http://images.example.org:{server.server_port}/a", *entries)
    assert server.asked == []


def test_a_named_host_may_be_in_a_private_network() -> None:
    found = AllowedSources.of(SourcesConfig(allow=("https://images.internal/",)), "/m.parquet")
    assert found.trust_of("images.internal") == "named"
    assert found.trust_of("other.internal") == "public"


@pytest.mark.parametrize("size", [None, 5])
def test_a_body_without_end_is_not_read_into_memory(server: Server, size: int | None) -> None:
    reader = SourceReader(Storage(), AllowedSources.of(SourcesConfig(allow=(f"{server.url}/",)), "/nowhere/m.parquet"))
    with pytest.raises(FailedError) as caught:
        reader.read(ManifestRow(0, "a", f"{server.url}/endless", size_bytes=size), 1000)
    assert caught.value.reason == "too_many_bytes"
