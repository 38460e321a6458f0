"""The tar with the images of a shard, as the layout `webdataset` publishes it: samples of members that share a key.

A sample holds its images, the text fields of the source under their own extensions, and a record of each image: `KEY.json`, or
`IMAGE.json` (`000.jpg.json`) where the source has a `KEY.json` itself or several images in a sample.

Source: the key of a member is its path up to the first dot of its name, and the members of a sample are adjacent
(WebDataset's file format).
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from anon_batch.formats import layout

JSON, CLASS, TEXT = "json", "cls", "txt"
# Extensions of the members that hold text, as WebDataset decodes them or as common data sets name them.
TEXT_FIELDS = (JSON, CLASS, TEXT, "caption", "class", "cls2", "label", "text", "transcript")
LONGEST_SUFFIX = ".transcript.json"  # that any member but an image may have behind the key or the image's name
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_SKIPPED = re.compile(r"__[^/]*__($|/)")


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
        """Return the sample with one image alone: the others and their records are left out."""
        others = {name for name in self.images if name != image}
        others |= {record_of(name) for name in others}
        return Sample(self.key, tuple(member for member in self.members if member[0] not in others))


def is_image(name: str) -> bool:
    """Return whether a member is an image, by its suffix."""
    return posixpath.splitext(name)[1].lower() in layout.IMAGE_SUFFIXES


def sample_key(name: str) -> str:
    """Return the key of a member."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def record_of(image: str) -> str:
    """Return the name of the record of one image of several, or of an image whose sample has a `.json` of the source."""
    return f"{image}.{JSON}"


def members_of(image: str) -> set[str]:
    """Return the names that members of an image's sample may have beside it."""
    key = sample_key(image)
    return {record_of(image), *(f"{key}.{field}" for field in TEXT_FIELDS)}


def is_readable_key(key: str) -> bool:
    """Return whether readers find a member `KEY.EXTENSION` under this key: WebDataset skips names such as `__x__`."""
    return bool(key) and not key.endswith("/") and sample_key(f"{key}.x") == key and not _SKIPPED.match(key)


def fits_header(name: str) -> bool:
    """Return whether a tar's header (POSIX ustar) holds a name: 100 bytes, and a folder of 155 more."""
    encoded = name.encode()
    if len(encoded) <= _NAME_BYTES:
        return True
    at = encoded.rfind(b"/", 0, _PREFIX_BYTES + 1)
    return at > 0 and len(encoded) - at - 1 <= _NAME_BYTES


def read_samples(data: bytes) -> Iterator[Sample]:
    """Yield the samples of a tar in order. A damaged file may raise any exception of tarfile, after some samples."""
    for key, members in groupby(read_members(data), key=lambda member: sample_key(member[0])):
        yield Sample(key, tuple(members))


def read_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member; a member that is no file is empty."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            yield info.name, b"" if file is None else file.read()


def write_samples(samples: Iterable[Sample]) -> bytes:
    """Return a tar. The same samples give the same bytes.

    Adjacent samples of one key become one, with each member once, images first.

    Raises:
        ValueError: a name does not fit; see `fits_header`.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for _, alike in groupby(samples, key=lambda sample: sample.key):
            members = dict(member for sample in alike for member in sample.members)
            for name, data in sorted(members.items(), key=lambda member: not is_image(member[0])):
                info = tarfile.TarInfo(name)  # with default time, owner and mode
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
