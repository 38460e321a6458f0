"""Walk a folder or prefix and leave nothing out: what cannot be listed comes with the reason."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from anon_batch.manifest.importers.classify import VERSION_CONTROL
from anon_batch.storage import Storage, is_local, join
from anon_batch.storage.faults import translate

_POINTER_BYTES = 2048  # larger files are not opened
_REMOTE_POINTERS = 1000  # small objects that are read, because each costs a request
_POINTER_STARTS = {
    b"version https://git-lfs": "git-lfs: `git lfs pull` fetches it",
    b"/annex/objects/": "git-annex: `git annex get` fetches it",
    b"book\0\0\0\0mark\0\0\0\0": "an alias of macOS",
    b"XSym\n": "a link as CIFS stores it",
    b"IntxLNK\x01": "a link as Cygwin stores it",
    b"!<symlink>": "a link as Cygwin stores it",
}
_START_BYTES = max(map(len, _POINTER_STARTS))


class Found(NamedTuple):
    """An entry below a folder.

    Args:
        key: path below it, "/"-separated.
        size_bytes: of the file.
        reason: why it cannot be listed; "" for a file.
        detail: what else is known.
        leads_to: folder that a link leads to, if that is outside; "" otherwise.
    """

    key: str
    size_bytes: int = 0
    reason: str = ""
    detail: str = ""
    leads_to: str = ""


def walk(storage: Storage, address: str) -> Iterator[Found]:
    """Yield every entry below a folder or prefix in a fixed order; links are followed, each folder once.

    Raises:
        StorageError: the folder itself, or a remote listing, cannot be read.
    """
    if is_local(address):
        yield from _LocalWalk(address).entries()
        return
    for info in storage.list(address, markers=True):
        yield Found(info.key, info.size_bytes)


class Pointers:
    """Recognise small files that stand for content elsewhere.

    Args:
        storage: of the files.
        address: of the folder.
    """

    def __init__(self, storage: Storage, address: str) -> None:
        self._storage = storage
        self._address = address
        self._left = None if is_local(address) else _REMOTE_POINTERS

    def kind(self, found: Found) -> str:
        """Return what a file is a pointer of; "" for one that is none, or too large to be one."""
        if not _START_BYTES <= found.size_bytes <= _POINTER_BYTES or self._left == 0:
            return ""
        if self._left is not None:
            self._left -= 1
        uri = join(self._address, found.key)
        try:
            start = _first_bytes(uri) if self._left is None else self._storage.read(uri, 0, _START_BYTES)
        except Exception:  # because the run reports what cannot be read
            return ""
        return next((kind for mark, kind in _POINTER_STARTS.items() if start.startswith(mark)), "")


def _first_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_START_BYTES)


class _LocalWalk:
    """Files in the order of their paths as text, as buckets list them; what links to folders hold comes last.

    Because links come after all real folders, ids are real paths.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._seen: dict[tuple[int, int], str] = {}
        self._links: deque[str] = deque()

    def entries(self) -> Iterator[Found]:
        yield from self._tree("")
        while self._links:
            yield from self._linked(self._links.popleft())

    def _tree(self, key: str) -> Iterator[Found]:
        """Yield what is below a folder. Because trees may be deeper than Python's stack, the folders left are in a list."""
        left = [self._folder(key)]
        while left:
            for item in left[-1]:
                if isinstance(item, str):
                    left.append(self._folder(item))
                    break
                yield item
            else:
                left.pop()

    def _folder(self, key: str) -> Iterator[Found | str]:
        """Yield the files of a folder, and the keys of its folders."""
        path = os.path.join(self._root, key) if key else self._root
        try:
            status = os.stat(path)
            with os.scandir(path) as scanned:
                found = sorted(scanned, key=_path_text)
        except FileNotFoundError:
            return  # deleted during the walk
        except OSError as exc:
            if not key:
                raise translate(exc, path) from exc
            yield Found(f"{key}/", reason="unreadable", detail=exc.strerror or str(exc))
            return
        known = self._seen.setdefault((status.st_dev, status.st_ino), key)
        if known != key:
            yield Found(f"{key}/", reason="listed_elsewhere", detail=f"as {known or 'the source itself'}")
            return
        for entry in found:
            child = f"{key}/{entry.name}" if key else entry.name
            item = self._item(entry, child)
            if item is not None:
                yield item
            elif entry.is_symlink():
                self._links.append(child)
            elif entry.name in VERSION_CONTROL:
                yield Found(f"{child}/", reason="version_control")
            else:
                yield child

    def _item(self, entry: os.DirEntry[str], key: str) -> Found | None:
        """Return a file or what is wrong with it; None for a folder."""
        try:
            status = os.stat(entry.path)
        except OSError as exc:
            return self._unreadable(entry, key, exc)
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            return Found(key, reason="special_file")
        return Found(key, status.st_size, leads_to=self._outside(entry.path) if entry.is_symlink() else "")

    def _unreadable(self, entry: os.DirEntry[str], key: str, exc: OSError) -> Found:
        if exc.errno == errno.ELOOP:
            return Found(key, reason="link_loop")
        if isinstance(exc, FileNotFoundError) and entry.is_symlink():
            target = ""
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
            hint = "git-annex: `git annex get` fetches it" if ".git/annex/" in target else f"leads to {target}"
            return Found(key, reason="dangling_link", detail=hint)
        return Found(key, reason="unreadable", detail=exc.strerror or str(exc))

    def _linked(self, key: str) -> Iterator[Found]:
        path = os.path.join(self._root, key)
        try:
            status = os.stat(path)
        except OSError as exc:
            yield Found(f"{key}/", reason="unreadable", detail=exc.strerror or str(exc))
            return
        known = self._seen.get((status.st_dev, status.st_ino))
        if known is None:
            outside = self._outside(path)
            for item in self._tree(key):
                yield item._replace(leads_to=item.leads_to or outside)
        elif not known or key.startswith(f"{known}/"):
            yield Found(f"{key}/", reason="link_loop", detail=f"leads to {known or 'the source itself'}")
        else:
            yield Found(f"{key}/", reason="listed_elsewhere", detail=f"leads to {known}")

    def _outside(self, path: str) -> str:
        real = os.path.realpath(path)
        if real.startswith(self._real_root.rstrip("/") + "/"):
            return ""
        return real if os.path.isdir(real) else os.path.dirname(real)


def _path_text(entry: os.DirEntry[str]) -> str:
    """Return the name as it stands in the paths of files: a folder's ends with a slash."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
