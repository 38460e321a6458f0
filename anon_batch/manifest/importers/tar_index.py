"""The offsets of the members of a tar, also of tars inside it, found by reading headers only.

Cost: a local tar is read with seeks, 512 bytes a member. Over a network an archive of small images is transferred once, in 1/8
request a MiB, because a request for each header would take longer; members larger than 2 MiB cost 64 KiB each. See `range_file`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Literal, NamedTuple

from anon_batch.errors import ManifestError
from anon_batch.manifest.importers.range_file import RangeFile

_BLOCK = tarfile.BLOCKSIZE
_AFTER_END_BYTES = 64 * 2**10
_MAX_DEPTH = 4
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class TarMember(NamedTuple):
    """A file in a tar.

    `folder` is the path of the inner tars that hold it, without their suffix, "" for none; `name` is its
    own name; its bytes are `length` bytes from `offset` of the outermost file. `kind` is `file`; `link` and `special` have no
    bytes, and those of `sparse` are not in one piece.
    """

    folder: str
    name: str
    offset: int
    length: int
    kind: Literal["file", "link", "special", "sparse"]

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name


class _Span(io.RawIOBase):
    """A part of a RangeFile, as the file object that `tarfile` expects."""

    def __init__(self, file: RangeFile, start: int, length: int) -> None:
        super().__init__()
        self.file, self.start, self.length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, origin: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[origin])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.length - self._at)
        data = self.file.read_at(self.start + self._at, left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data


def iter_members(file: RangeFile) -> Iterator[TarMember]:
    """Yield all files of a tar and of the tars in it, in order; folders are left out.

    Raises:
        ManifestError: compressed, not a tar, damaged, truncated, several archives in a row, or tars nested deeper
            than 4: everything that would leave images out of the list.
        StorageError: it cannot be read.
    """
    magic = file.read_at(0, 6)
    for start, name in _COMPRESSED.items():
        if magic.startswith(start):
            raise ManifestError(
                f"{file.uri} is compressed ({name}): its members cannot be read one by one; unpack it, e.g. with "
                "`gunzip`, to a plain .tar"
            )
    yield from _members(_Span(file, 0, file.size_bytes), file.uri, "", 1)


def _members(span: _Span, where: str, folder: str, depth: int) -> Iterator[TarMember]:
    if depth > _MAX_DEPTH:
        raise ManifestError(f"{where}: tars nested more than {_MAX_DEPTH} deep; unpack the outer ones")
    for info in _headers(span, where):
        if info.isdir():
            continue
        name = info.name.removeprefix("./")
        offset = span.start + info.offset_data
        kind = _kind_of(info)
        if kind == "file" and name.lower().endswith(".tar"):
            inner = "/".join(filter(None, (folder, name[: -len(".tar")])))
            yield from _members(_Span(span.file, offset, info.size), f"{where}!{name}", inner, depth + 1)
        else:
            yield TarMember(folder, name, offset, info.size, kind)


def _kind_of(info: tarfile.TarInfo) -> Literal["file", "link", "special", "sparse"]:
    if info.issym() or info.islnk():
        return "link"
    if info.sparse is not None:
        return "sparse"
    return "file" if info.isreg() else "special"


def _headers(span: _Span, where: str) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=span, mode="r:", encoding="utf-8") as archive:
            kept: list[tarfile.TarInfo] = vars(archive)[
                "members"
            ]  # cleared, because a million headers do not fit in memory
            while (info := archive.next()) is not None:
                if archive.offset > span.length:
                    raise ManifestError(f"{where}: truncated inside {info.name!r}; fetch it again")
                yield info
                kept.clear()
            _require_end(span, archive.offset, where)
    except (tarfile.TarError, ValueError, OverflowError) as exc:
        raise ManifestError(f"{where}: not a tar, or damaged ({exc}); fetch or pack it again") from None


def _require_end(span: _Span, offset: int, where: str) -> None:
    """Raise unless the tar ends in two blocks of zeros, because `tarfile` ends at a damaged header or a truncated file too."""
    span.seek(offset)
    block = span.read(_BLOCK)
    if len(block) < _BLOCK:
        raise ManifestError(
            f"{where}: ends at byte {span.length} without the end mark of a tar: truncated; fetch it again"
        )
    if any(block):
        raise ManifestError(f"{where}: damaged header at byte {offset}; members after it are lost; fetch it again")
    if any(span.read(_AFTER_END_BYTES)):
        raise ManifestError(
            f"{where}: more data after the end mark at byte {offset}: several tars in one file; split them, "
            "or join them with `tar --concatenate`"
        )
