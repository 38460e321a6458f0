"""A headless Chromium, driven through the DevTools protocol: keys, mouse, scripts, screenshots."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="browser: no Chromium here")

_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --disable-extensions --remote-debugging-port=0"
)
_TIMEOUT_S = 60.0
_NAMES = {
    " ": "Space",
    "Enter": "Enter",
    "Backspace": "Backspace",
    "Delete": "Delete",
    "Escape": "Escape",
    "Tab": "Tab",
}
_CODES = {"Enter": 13, "Backspace": 8, "Delete": 46, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38,
          "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip
_SHIFT, _ALT = 8, 1


class Page:
    """One page.

    Args:
        loop: of the connection.
        socket: to the page.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._sent = loop, socket, 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.requested: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": parameters})
        while True:
            message = json.loads((await asyncio.wait_for(self._socket.receive(), _TIMEOUT_S)).data)
            if message.get("id") == self._sent:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"])[:600])
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"])
            elif message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"][:200])

    def open(self, path: Path) -> None:
        """Load a file and wait until it is parsed."""
        self.call("Page.navigate", url=path.as_uri())
        self.wait(f"location.pathname.endsWith({json.dumps(path.name)}) && document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again."""
        self.evaluate("window.old = true")
        self.call("Page.reload")
        self.wait("window.old === undefined && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, json.dumps(result)[:600]
        return result["result"].get("value")

    def wait(self, condition: str, timeout_s: float = 30.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.evaluate(f"Boolean({condition})"):
                    return
            except AssertionError:  # while the page changes there may be nothing to evaluate in
                pass
            assert time.monotonic() < deadline, f"waited {timeout_s} s for {condition}; errors: {self.errors}"
            time.sleep(0.005)

    def press(self, *keys: str, shift: bool = False, alt: bool = False) -> None:
        """Press and release keys, one after the other, as a keyboard does."""
        for key in keys:
            code = _CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
            common = {"key": key, "code": _NAMES.get(key, key), "windowsVirtualKeyCode": code}
            common["modifiers"] = _SHIFT * shift + _ALT * alt
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Drag the mouse with its left button."""
        self._mouse("mouseMoved", start)
        self._mouse("mousePressed", start, button="left", buttons=1, clickCount=1)
        for share in (0.5, 1.0):
            at = (start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1]))
            self._mouse("mouseMoved", at, button="left", buttons=1)
        self._mouse("mouseReleased", stop, button="left", clickCount=1)

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        area = self.evaluate(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])({_element(selector)}.getBoundingClientRect())"
        )
        self.drag((area[0], area[1]), (area[0], area[1]))

    def _mouse(self, kind: str, at: tuple[float, float], **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **more)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path) -> None:
        """Write what is visible as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def _element(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"


@contextmanager
def browser_page(profile: Path) -> Iterator[Page]:
    """Start a browser with a profile of its own and yield an empty page; end it afterwards.

    Args:
        profile: folder that keeps what pages store.
    """
    port_file = profile / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    command = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = asyncio.new_event_loop()
    try:
        deadline = time.monotonic() + _TIMEOUT_S
        while not (port_file.exists() and port_file.read_text().count("\n") >= 1):
            assert time.monotonic() < deadline, "Chromium did not open its DevTools port"
            time.sleep(0.02)
        session, socket = loop.run_until_complete(_connect(int(port_file.read_text().split()[0])))
        try:
            yield Page(loop, socket)
            loop.run_until_complete(_close_browser(socket))
        finally:
            loop.run_until_complete(socket.close())
            loop.run_until_complete(session.close())
    finally:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        loop.close()


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    while True:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [one for one in await answer.json() if one["type"] == "page"]
        if pages:
            return session, await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        await asyncio.sleep(0.02)


async def _close_browser(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Ask the browser to end, so that it writes what pages stored."""
    await socket.send_json({"id": 10**9, "method": "Browser.close"})
    await asyncio.wait_for(socket.receive(), _TIMEOUT_S)
