"""Read the images of a release, in any layout."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError, ObjectNotFoundError
from anon_batch.formats.release import Release


class Output(Protocol):
    """Where a published image is.

    Attributes:
        image_id: the release's id.
        key: of the object below OUTPUT.
        member: name inside it, if it is a tar or Parquet file.
        sha256: of the image file.
    """

    @property
    def image_id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def member(self) -> str | None: ...
    @property
    def sha256(self) -> str: ...


_Output = TypeVar("_Output", bound=Output)


def read_outputs(release: Release, outputs: Sequence[_Output]) -> Iterator[tuple[_Output, bytes | IntegrityError]]:
    """Yield each output with its file, or with what is wrong: it is missing, damaged, or not the one of the provenance.

    Single objects come in the order given, then the members of one shard file after the other.

    Raises:
        StorageError: storage fails or refuses.
    """
    shards: dict[str, dict[str, _Output]] = {}
    for own in outputs:
        if own.member is None:
            yield own, _read(release, own)
        else:
            shards.setdefault(own.key, {})[own.member] = own
    for key, members in shards.items():
        wanted = set(members)
        fault = IntegrityError(f"{key}: has no member of that name")
        try:
            with release.storage.open(release.address(key)) as file:
                for name, data in _tar(file, wanted) if key.endswith(".tar") else _parquet(file, wanted):
                    wanted.remove(name)
                    yield members[name], _checked(members[name], data)
        except ObjectNotFoundError:
            fault = IntegrityError(f"{key}: missing")
        except (tarfile.TarError, pa.ArrowException, KeyError, TypeError, EOFError) as exc:
            fault = IntegrityError(f"{key}: damaged ({type(exc).__name__}: {exc})")
        for name in sorted(wanted):
            yield members[name], fault


def _tar(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            member = tar.extractfile(info) if info.name in wanted else None
            if member is not None:
                yield info.name, member.read()
            if not wanted:
                return


def _parquet(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    parquet = pq.ParquetFile(file)
    for group in range(parquet.num_row_groups):
        paths = parquet.read_row_group(group, columns=["image.path"], use_threads=False).column("image").to_pylist()
        if wanted.isdisjoint(cell["path"] for cell in paths):  # because the bytes are the costly part
            continue
        for cell in parquet.read_row_group(group, columns=["image"], use_threads=False).column("image").to_pylist():
            if cell["path"] in wanted:
                yield cell["path"], cell["bytes"]


def _read(release: Release, output: Output) -> bytes | IntegrityError:
    try:
        return _checked(output, release.read(output.key))
    except ObjectNotFoundError:
        return IntegrityError(f"{output.key}: missing")


def _checked(output: Output, data: bytes) -> bytes | IntegrityError:
    if hashlib.sha256(data).hexdigest() != output.sha256:
        return IntegrityError(f"{output.image_id}: the output's digest is not the one in the provenance")
    return data
