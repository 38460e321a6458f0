"""Network namespaces that tests make: machines of their own on one bridge, which nothing outside reaches."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

_CLONE_NEWNET = 0x40000000
_FOLDER = "/run/netns"


def why_not() -> str:
    """Return why this process may not make namespaces; empty if it may."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "no ip or unshare here"
    name = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    linked = _ip("-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1", check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return f"veth is not allowed here: {linked.stderr.strip()}" if linked.returncode else ""


@contextlib.contextmanager
def bridged(machines: Sequence[str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Make a namespace for each machine, and one more for the bridge between them.

    Yields:
        Name of the namespace and IPv4 address of each machine, and of `bridge`.
    """
    prefix = f"t{os.getpid()}"
    hub = f"{prefix}-bridge"
    made = {"bridge": (hub, "10.77.0.1")}
    try:
        _add(hub)
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "address", "add", "10.77.0.1/24", "dev", "br0")
        _ip("-n", hub, "link", "set", "br0", "up")
        for number, machine in enumerate(machines, 2):
            made[machine] = (name, address) = (f"{prefix}-{machine}", f"10.77.0.{number}")
            _add(name)
            _ip("-n", hub, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        yield made
    finally:
        for name, _ in made.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def enter(name: str | None) -> None:
    """Move the calling thread into a namespace; None is that of the main thread."""
    path = f"/proc/{os.getpid()}/ns/net" if name is None else f"{_FOLDER}/{name}"
    with open(path, "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


def _add(name: str) -> None:
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check)
