"""A web server on loopback whose every path says what goes wrong with it.

with WebFaults({"good.png": body}) as web:
    web.url("good.png")                  # the body, with ranges
    web.url("status/403/a.png")          # an answer with that status; its body names a secret
    web.url("then/503/2/good.png")       # the first two requests get the status, then the body follows
    web.url("wait/429/1/2/good.png")     # the same, with `Retry-After: 1`, for two requests
    web.requests("status/403/a.png")     # how many requests a path got

short/NAME  half of the announced body     cut/N/NAME  short for the first N requests    drop/N/NAME  no answer
gzip/NAME   a body that is not gzip        loop/NAME   a redirect to itself              ftp/NAME     a redirect to ftp
shifted/NAME  a range that begins elsewhere  capped/NAME  half of a range               multipart/NAME
whole/NAME  all of it, whatever the range  stall/NAME  a body that never comes           badlength/NAME
"""

from __future__ import annotations

import contextlib
import gzip
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebFaults:
    """Runs in threads of its own between `with` and its end.

    Args:
        files: name -> body.
        tls: speaks https with this certificate.
    """

    def __init__(self, files: Mapping[str, bytes], tls: ssl.SSLContext | None = None) -> None:
        self.files = dict(files)
        self.counts: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.closing = threading.Event()
        web = self

        class Handler(_Handler):
            faults = web

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"

    def requests(self, path: str) -> int:
        return self.counts[path]

    def __enter__(self) -> WebFaults:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    faults: WebFaults
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        self.faults.counts[path] += 1
        self.faults.times.setdefault(path, []).append(time.monotonic())
        kind, _, rest = path.partition("/")
        with contextlib.suppress(OSError):
            getattr(self, f"_{kind}", self._good)(rest, self.faults.counts[path])

    def _send(self, status: int, body: bytes, announced: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if announced is not None:
            self.close_connection = True

    def _good(self, *_: Any) -> None:
        body = self.faults.files.get(self.path.rpartition("/")[2].partition("?")[0])
        if body is None:
            self._send(404, b"no")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self._send(200, body)
            return
        start, end = int(wanted[1]), min(int(wanted[2] or len(body)), len(body) - 1)
        if start >= len(body):
            self._send(416, b"", Content_Range=f"bytes */{len(body)}")
        else:
            self._send(206, body[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(body)}")

    def _body(self) -> bytes:
        return self.faults.files.get(self.path.rpartition("/")[2].partition("?")[0], b"x" * 1000)

    def _status(self, rest: str, _: int) -> None:
        self._send(int(rest.partition("/")[0]), b"refused; token=CANARY-BODY")

    def _then(self, rest: str, count: int) -> None:
        status, times, _ = rest.split("/", 2)
        self._send(int(status), b"later") if count <= int(times) else self._good()

    def _wait(self, rest: str, count: int) -> None:
        status, seconds, times, _ = rest.split("/", 3)
        later = {"Retry_After": seconds}
        self._send(int(status), b"later", **later) if count <= int(times) else self._good()

    def _short(self, *_: Any) -> None:
        body = self._body()
        self._send(200, body[: len(body) // 2], announced=len(body))

    def _cut(self, rest: str, count: int) -> None:
        self._short() if count <= int(rest.partition("/")[0]) else self._good()

    def _drop(self, rest: str, count: int) -> None:
        if count <= int(rest.partition("/")[0]):
            self.close_connection = True
        else:
            self._good()

    def _gzip(self, *_: Any) -> None:
        self._send(200, b"this is not gzip", Content_Encoding="gzip")

    def _loop(self, *_: Any) -> None:
        self._send(302, b"", Location=self.path)

    def _ftp(self, *_: Any) -> None:
        self._send(302, b"", Location="ftp://127.0.0.1/x")

    def _whole(self, *_: Any) -> None:
        self._send(200, self._body())

    def _shifted(self, *_: Any) -> None:
        body = self._body()
        self._send(206, body[7:], Content_Range=f"bytes 7-{len(body) - 1}/{len(body)}")

    def _capped(self, *_: Any) -> None:
        body = self._body()
        half = len(body) // 2
        self._send(206, body[:half], Content_Range=f"bytes 0-{half - 1}/{len(body)}")

    def _multipart(self, *_: Any) -> None:
        self._send(206, b"--X\r\n\r\nx\r\n--X--\r\n", Content_Type="multipart/byteranges; boundary=X")

    def _endless(self, *_: Any) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.faults.closing.is_set():
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def _bomb(self, *_: Any) -> None:
        body = gzip.compress(bytes(2**28), 9)
        self._send(200, body, Content_Encoding="gzip")

    def _badlength(self, *_: Any) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx")
        self.close_connection = True

    def _stall(self, *_: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x")
        self.faults.closing.wait(30)
        self.close_connection = True
