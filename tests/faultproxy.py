"""An HTTP/1.1 proxy on loopback that stands between an S3 client and a server and makes faults on purpose.

    with FaultProxy(server.endpoint_url) as proxy:
        proxy.add("slowdown", method="PUT", key=r"shard-0003", times=3)     # 503 three times, then clean
        proxy.add("reset", at=70_000, on="response")                        # cut after 70 kB of the answer
        ...                                                                 # a client of proxy.url
        assert proxy.hits("slowdown") == 3

Faults:
    slowdown   503 SlowDown, after the request's body was taken in      error      any `status` and `code`
    reset      RST `at` bytes into the request's or response's body     truncate   an orderly end there: a short body
    corrupt    flips the byte at `at` of the body                       stall      stops there for `delay_s`, then goes on
    latency    waits `delay_s` before it forwards                       slow       `bytes_per_s`
    blackhole  never answers: RST after `delay_s`                       lost_ack   the server does it, the answer is lost

The head of a request passes as the client sent it, Host included, so signatures stay valid.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

_READ_BYTES = 1 << 16
_LIMIT_BYTES = 1 << 20
_AT_AN_OFFSET = ("reset", "truncate", "stall", "corrupt")


@dataclass
class Rule:
    """One kind of fault and the requests that it strikes.

    Args:
        fault: see the module.
        method, key: the request's method; a regular expression searched in its raw target.
        times: how often it strikes, None for ever; `skip`: how many matching requests pass before the first.
        probability: of striking, drawn from the proxy's seed.
        on: in which body the faults at an offset strike; `at`: the offset in bytes, framing of chunks included.
    """

    fault: str
    method: str | None = None
    key: str | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    on: Literal["request", "response"] = "response"
    at: int = 0
    delay_s: float = 0.0
    bytes_per_s: int = 0
    status: int = 503
    code: str = "SlowDown"
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)


@dataclass(frozen=True)
class _Head:
    raw: bytes
    first: str
    headers: dict[str, str]

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close" or self.first.startswith("HTTP/1.0")


class _ResetError(Exception):
    """Ends the client's connection with RST."""


class FaultProxy:
    """Runs in a thread of its own between `with` and its end.

    Args:
        upstream: http address of the server.
        seed: of the draws of rules with a probability.
    """

    def __init__(self, upstream: str, seed: int = 0) -> None:
        parts = urllib.parse.urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._rules: list[Rule] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True, name="faultproxy")
        self.log: list[tuple[str, str, int | str]] = []
        """(method, target, status of the answer or name of the fault) of each request."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """(method, target, headers with names in lower case) of each request."""
        self.url = ""

    def add(self, fault: str, **settings: object) -> Rule:
        """Adds a rule; of several that fit a request the oldest that is not used up strikes."""
        rule = Rule(fault, **settings)  # type: ignore[arg-type]
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Removes all rules."""
        with self._lock:
            self._rules.clear()

    def hits(self, fault: str | None = None) -> int:
        """How often a fault, or any, has struck."""
        return sum(1 for *_, what in self.log if (what == fault if fault else isinstance(what, str)))

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the fault proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=_LIMIT_BYTES)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close

    def _match(self, method: str, target: str) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if (rule.method and rule.method != method) or (rule.key and not re.search(rule.key, target)):
                    continue
                rule.seen += 1
                used_up = rule.times is not None and rule.fired >= rule.times
                if rule.seen <= rule.skip or used_up or self._random.random() >= rule.probability:
                    continue
                rule.fired += 1
                return rule
        return None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.ExitStack() as stack:
            stack.callback(self._tasks.discard, task)
            stack.callback(writer.close)
            try:
                await self._converse(reader, writer, stack)
            except _ResetError:
                _abort(writer)
            except (EOFError, OSError, asyncio.CancelledError):  # a body cut short, either side gone, the proxy's end
                pass

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stack: contextlib.ExitStack
    ) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            head = await _head(reader)
            method, target, _ = head.first.split(" ", 2)
            self.requests.append((method, target, head.headers))
            rule = self._match(method, target)
            if rule:
                self.log.append((method, target, rule.fault))
                if rule.fault in ("slowdown", "error"):
                    await _refuse(rule, method, head, reader, writer)
                    return
                await _before(rule)
            if upstream is None:
                upstream = await asyncio.open_connection(*self._upstream, limit=_LIMIT_BYTES)
                stack.callback(upstream[1].close)
            upstream[1].write(head.raw)
            sending = asyncio.create_task(_send(_body(reader, head), upstream[1], rule, "request"))
            try:
                if not await self._answer(method, target, rule, upstream[0], writer, sending) or head.closes:
                    return
            finally:
                sending.cancel()

    async def _answer(
        self,
        method: str,
        target: str,
        rule: Rule | None,
        upstream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sending: asyncio.Task[None],
    ) -> bool:
        """Passes the server's answer on; whether both connections can carry another request."""
        status = 100
        while status < 200:  # interim answers, as 100 Continue
            getting = asyncio.create_task(_head(upstream))
            await asyncio.wait({getting, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and (failure := sending.exception()):
                getting.cancel()
                raise failure
            head = await getting
            status = int(head.first.split(" ")[1])
            if status >= 200 and not rule:
                self.log.append((method, target, status))  # before the client can see the answer and look here
            if not (rule and rule.fault == "lost_ack" and status >= 200):
                writer.write(head.raw)
        body = _body(upstream, head, bodyless=method == "HEAD" or status in (204, 304), to_eof=True)
        if rule and rule.fault == "lost_ack":
            async for _ in body:
                pass
            raise _ResetError
        await _send(body, writer, rule, "response")
        await writer.drain()
        if not sending.done():  # answered before all of the request was read: an error
            return False
        await sending
        return not head.closes


async def _head(reader: asyncio.StreamReader) -> _Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].decode("latin1").split("\r\n")
    return _Head(raw, first, {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)})


async def _body(
    reader: asyncio.StreamReader, head: _Head, *, bodyless: bool = False, to_eof: bool = False
) -> AsyncIterator[bytes]:
    """The pieces of a body as they lie on the wire, framing included."""
    if bodyless:
        return
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        while (size := int((line := await reader.readuntil(b"\r\n")).split(b";")[0], 16)) > 0:
            yield line + await reader.readexactly(size + 2)
        while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
            line += trailer
        yield line + b"\r\n"
    elif "content-length" in head.headers:
        left = int(head.headers["content-length"])
        while left:
            piece = await reader.read(min(left, _READ_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece
    elif to_eof:
        while piece := await reader.read(_READ_BYTES):
            yield piece


async def _before(rule: Rule) -> None:
    """Faults that strike before anything is forwarded."""
    if rule.fault in ("latency", "blackhole"):
        await asyncio.sleep(rule.delay_s)
    if rule.fault == "blackhole":
        raise _ResetError


async def _refuse(
    rule: Rule, method: str, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers with an error in the server's place."""
    if head.headers.get("expect", "").lower() != "100-continue":
        async for _ in _body(reader, head):
            pass
    status, code = (503, "SlowDown") if rule.fault == "slowdown" else (rule.status, rule.code)
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made on purpose</Message></Error>"
    body = b"" if method == "HEAD" else text.encode()
    lines = (f"HTTP/1.1 {status} {code}", "Content-Type: application/xml", f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
    await writer.drain()


async def _send(pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter, rule: Rule | None, where: str) -> None:
    """Passes a body on, with the fault if it strikes here."""
    active = rule if rule and rule.on == where else None
    sent = 0
    async for piece in pieces:
        rest, sent = piece, sent + len(piece)
        if active and active.fault in _AT_AN_OFFSET and sent - len(piece) <= active.at < sent:
            at = active.at - sent + len(piece)
            if active.fault == "corrupt":
                rest = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
            else:
                rest = piece[at:]
                writer.write(piece[:at])
                await writer.drain()
                await _interrupt(active)
        writer.write(rest)
        await writer.drain()
        if active and active.fault == "slow":
            await asyncio.sleep(len(piece) / active.bytes_per_s)


async def _interrupt(rule: Rule) -> None:
    if rule.fault == "truncate":
        raise EOFError
    if rule.fault == "reset":
        await asyncio.sleep(0.02)  # lets the bytes out before the RST
        raise _ResetError
    await asyncio.sleep(rule.delay_s)


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
