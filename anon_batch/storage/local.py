"""Local files: atomic writes by move or link, and listings without silent gaps."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from anon_batch.storage.faults import translate
from anon_batch.storage.listing import ObjectInfo

PARTIAL_PREFIX = ".partial-"  # of files that a killed process left half-written


def walk(root: Path) -> Iterator[ObjectInfo]:
    """Yield all files below a folder; follow links to folders, each folder once. A link that leads nowhere is a file too.

    Raises:
        AccessDeniedError: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse_unreadable):
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        subfolders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # deleted during the walk
                found = os.stat(path) if os.path.exists(path) else os.lstat(path)
                yield ObjectInfo(os.path.relpath(path, root).replace(os.sep, "/"), found.st_size)


def _refuse_unreadable(exc: OSError) -> None:
    if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        raise translate(exc, str(exc.filename)) from exc


def read(path: str, offset: int, length: int | None) -> bytes:
    """Return `length` bytes of a file from `offset`, or all from there.

    Raises:
        OSError: it cannot be read, or is no regular file (ENXIO), because to open a pipe may wait for ever.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)
        if offset:
            file.seek(offset)
        return file.read() if length is None else file.read(length)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def put(path: Path, data: bytes, *, create: bool, private: bool = False) -> None:
    """Write a temporary file beside the target, then move it (or, with `create`, link it) into place; both are atomic.

    Args:
        path: the file.
        data: its content.
        create: whether an existing file is an error.
        private: give the file mode 0600 and new folders 0700, whatever the umask is.
    """
    for last in (False, False, True):
        try:
            _put(path, data, create=create, private=private)
            return
        except FileNotFoundError:  # because another driver that finished the same run swept the temporary file
            if last:
                raise


def _put(path: Path, data: bytes, *, create: bool, private: bool) -> None:
    partial = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
    moved = False
    try:
        with _new_file(partial, private) as file:
            file.write(data)
            if create:  # because a commit must not survive a power cut without its content
                file.flush()
                os.fsync(file.fileno())
        if create:
            os.link(partial, path)
        else:
            os.replace(partial, path)
            moved = True
    finally:
        if not moved:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)


def _new_file(path: Path, private: bool) -> BinaryIO:
    opener = _open_privately if private else None
    try:
        return open(path, "xb", opener=opener)
    except FileNotFoundError:  # because the folder mostly exists, create it only then
        if private:
            _make_private_folders(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb", opener=opener)


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_private_folders(folder: Path) -> None:
    if not folder.parent.exists():  # because `mkdir` gives its mode to the last folder alone
        _make_private_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def make_private(root: Path) -> None:
    """Create a folder that only its owner may enter; take an existing one and all in it from everybody else.

    Raises:
        OSError: another user owns a part of it.
    """
    root.mkdir(parents=True, exist_ok=True)
    if not _is_open_to_others(root):
        return
    os.chmod(root, 0o700)
    for folder, subfolders, names in os.walk(root):
        for path in (Path(folder, name) for name in (*subfolders, *names)):
            if _is_open_to_others(path):
                os.chmod(path, path.stat().st_mode & 0o700)


def _is_open_to_others(path: Path) -> bool:
    mode = path.lstat().st_mode
    return not stat.S_ISLNK(mode) and bool(mode & 0o077)


def sweep_partials(root: Path) -> int:
    """Delete half-written files of killed processes below a folder; return their number."""
    swept = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if name.startswith(PARTIAL_PREFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
                    swept += 1
    return swept


def prune(root: Path) -> None:
    """Delete every empty folder below and including `root`; links and folders with files stay."""
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):  # because it is not empty, or not ours
            os.rmdir(folder)
