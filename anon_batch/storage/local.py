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
    """Yield all files below a folder; follow links to folders, each folder once.

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
                yield ObjectInfo(os.path.relpath(path, root).replace(os.sep, "/"), os.stat(path).st_size)


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


def put(path: Path, data: bytes, *, create: bool) -> None:
    """Write a temporary file beside the target, then move it (or, with `create`, link it) into place; both are atomic."""
    for last in (False, False, True):
        try:
            _put(path, data, create=create)
            return
        except FileNotFoundError:  # because another driver that finished the same run swept the temporary file
            if last:
                raise


def _put(path: Path, data: bytes, *, create: bool) -> None:
    partial = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}")
    moved = False
    try:
        with _new_file(partial) as file:
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


def _new_file(path: Path) -> BinaryIO:
    try:
        return open(path, "xb")
    except FileNotFoundError:  # because the folder mostly exists, create it only then
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb")


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
