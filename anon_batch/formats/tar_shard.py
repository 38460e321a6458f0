"""The tar with the images of a shard, as the layout `webdataset` publishes it: samples of members that share a key.

Source: the key of a member is its path up to the first dot of its name, and the members of a sample are adjacent
(WebDataset's file format).
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from anon_batch.formats import layout


class Sample(NamedTuple):
    """What a tar holds under one key.

    Args:
        key: path up to the first dot of the name.
        members: (name, content) in order; each name is the key, a dot and an extension.
    """

    key: str
    members: tuple[tuple[str, bytes], ...]

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the members that are images."""
        return tuple(name for name, _ in self.members if is_image(name))

    def with_image(self, image: str) -> Sample:
        """Return the sample with one image alone: the others' members are left out."""
        kept = tuple((name, data) for name, data in self.members if name == image or not is_image(name))
        return Sample(self.key, kept)


def is_image(name: str) -> bool:
    """Return whether a member is an image, by its suffix."""
    return posixpath.splitext(name)[1].lower() in layout.IMAGE_SUFFIXES


def sample_key(name: str) -> str:
    """Return the key of a member."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def read_samples(data: bytes) -> Iterator[Sample]:
    """Yield the samples of a tar in order. A damaged file may raise any exception of tarfile, after some samples."""
    for key, members in groupby(read_members(data), key=lambda member: sample_key(member[0])):
        yield Sample(key, tuple(members))


def read_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member; a member that is no file is empty."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            yield info.name, b"" if file is None else file.read()


def write_samples(samples: Iterable[Sample]) -> bytes:
    """Return a tar. The same samples give the same bytes; adjacent ones of one key become one, with each member once."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for _, alike in groupby(samples, key=lambda sample: sample.key):
            for name, data in dict(member for sample in alike for member in sample.members).items():
                info = tarfile.TarInfo(name)  # with default time, owner and mode
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
