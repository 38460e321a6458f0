"""Read single outputs of a release in any layout."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError, ObjectNotFoundError, RowError
from anon_batch.formats.release import Release
from anon_batch.imaging.decode import decode
from anon_batch.records import PixelArray
from anon_batch.release.review.sample import Output


def read_outputs(release: Release, outputs: Sequence[Output]) -> Iterator[tuple[Output, bytes]]:
    """Yield outputs with their files, those of one shard file after the other.

    Raises:
        IntegrityError: an output is missing, or is not the one that the provenance names.
    """
    shards: dict[str, dict[str, Output]] = {}
    for own in outputs:
        if own.member is None:
            yield own, _checked(own, _read(release, own.key))
        else:
            shards.setdefault(own.key, {})[own.member] = own
    for key, members in shards.items():
        for name, data in _members(release, key, members):
            yield members.pop(name), data
        if members:
            raise IntegrityError(f"{key}: has no member {min(members)}, which the provenance names")


def decode_output(output: Output, data: bytes) -> PixelArray:
    """Return the upright pixels of an output, (H, W, 3) uint8 RGB.

    Raises:
        IntegrityError: it does not decode, or to another size.
    """
    try:
        pixels = decode(output.image_id, data).pixels
    except RowError as exc:
        raise IntegrityError(f"{output.image_id}: the output does not decode ({exc})") from None
    if pixels.shape[:2] != (output.height, output.width):
        raise IntegrityError(f"{output.image_id}: the output has another size than the provenance says")
    return pixels


def _members(release: Release, key: str, members: dict[str, Output]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the wanted members of a shard file."""
    wanted = dict(members)
    try:
        with release.storage.open(release.address(key)) as file:
            found = _tar(file, set(wanted)) if key.endswith(".tar") else _parquet(file, set(wanted))
            for name, data in found:
                yield name, _checked(wanted[name], data)
    except ObjectNotFoundError:
        raise IntegrityError(f"{key}: missing") from None
    except (tarfile.TarError, pa.ArrowException, KeyError, TypeError) as exc:
        raise IntegrityError(f"{key}: damaged ({type(exc).__name__}: {exc})") from None


def _tar(file: object, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
        for info in tar:
            member = tar.extractfile(info) if info.name in wanted else None
            if member is not None:
                wanted.remove(info.name)
                yield info.name, member.read()
            if not wanted:
                return


def _parquet(file: object, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    parquet = pq.ParquetFile(file)
    for group in range(parquet.num_row_groups):
        paths = parquet.read_row_group(group, columns=["image.path"]).column("image").to_pylist()
        if wanted.isdisjoint(cell["path"] for cell in paths):  # because the bytes are the costly part
            continue
        for cell in parquet.read_row_group(group, columns=["image"]).column("image").to_pylist():
            if cell["path"] in wanted:
                wanted.remove(cell["path"])
                yield cell["path"], cell["bytes"]


def _read(release: Release, key: str) -> bytes:
    try:
        return release.read(key)
    except ObjectNotFoundError:
        raise IntegrityError(f"{key}: missing") from None


def _checked(output: Output, data: bytes) -> bytes:
    if hashlib.sha256(data).hexdigest() != output.sha256:
        raise IntegrityError(
            f"{output.image_id}: the output is not the one that the provenance names (its digest differs)"
        )
    return data
