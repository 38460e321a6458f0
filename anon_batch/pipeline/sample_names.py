"""Name the samples of a tar shard: by the source's keys as far as these are safe and unique in the shard.

Names depend on the planned rows of the shard alone, so that they are the same whichever rows end without an output.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from anon_batch.config import WriteConfig
from anon_batch.formats.layout import FORMAT_SUFFIXES
from anon_batch.formats.tar_shard import LONGEST_SUFFIX, fits_header, is_readable_key, record_of, sample_key
from anon_batch.manifest.names import has_image_suffix, is_safe
from anon_batch.records import ManifestRow

KEY_COLUMN = "__key__"  # of a table that was made from a WebDataset
MOST_IMAGES = 100  # of a sample, because `clip.000017.jpg` is one of many frames rather than a view of a sample
_TAR = ".tar"
_LONGEST_IMAGE = ".webp"
_MOST_EXTENSION_BYTES = 60  # so that a tar's header has room for `row-`, a number and LONGEST_SUFFIX

Rows = tuple[ManifestRow, ...]


class SampleNames:
    """Names of the members of one shard.

    The key of a row is, where no other sample of the shard has it,

    1. the source's: its column `__key__`; the path inside its tar up to the first dot of the name; for an image that lies in no
       tar its id without the suffix, with `_` for each dot in the name,
    2. the row's id: up to the first dot of the name with the name of the source's tar in front, or with `_` for each dot,
    3. in a tar, the path without its suffix, with `_` for each dot in the name,
    4. `row-` and the number of the row.

    Images of one tar that share a key and stand beside each other, at most MOST_IMAGES, are one sample. Nothing else is joined.

    Args:
        rows: all rows of the shard, in order.
        write: the job's section.
    """

    def __init__(self, rows: Sequence[ManifestRow], write: WriteConfig) -> None:
        self._keep_format = write.format == "keep"
        self._keys: dict[int, str] = {}
        self._single: set[int] = set()
        self._alone: set[int] = set()
        samples = [part for sample in _samples(rows) for part in self._divided(sample)]
        for sample, key in zip(samples, self._choose(samples), strict=True):
            self._keys.update((row.index, key) for row in sample)
            if len(sample) == 1:
                self._single.add(sample[0].index)

    def key(self, row: ManifestRow) -> str:
        """Return the key of a row's sample."""
        return self._keys[row.index]

    def keep(self, published: Mapping[int, str]) -> None:
        """Let rows keep the keys under which they are published already; another row that has chosen one of them gets its number.

        Args:
            published: number of a row of the shard -> its key.
        """
        chosen = dict(self._keys)
        shared = {key for number, key in published.items() if chosen.get(number) == key}  # with the rest of its sample
        for number, key in chosen.items():
            if number not in published and key in set(published.values()) - shared:
                self._keys[number] = f"row-{number:010d}"
        self._keys.update(published)

    def image(self, row: ManifestRow, image_format: str) -> str:
        """Return the name of a row's image, whose format is Pillow's name of one."""
        return self._name(row, self.key(row), FORMAT_SUFFIXES[image_format][0])

    def record(self, row: ManifestRow, image: str, *, has_json: bool) -> str:
        """Return the name of the record of a row.

        Args:
            row: of the shard.
            image: name of its image.
            has_json: whether the sample has a `.json` of the source.
        """
        return record_of(image) if has_json or row.index not in self._single else f"{self.key(row)}.json"

    def _divided(self, sample: Rows) -> list[Rows]:
        """Return a sample, or each of its rows alone if it has too many images, or two that would have one name."""
        names = {self._name(row, "k").lower() for row in sample}
        if len(names) == len(sample) <= MOST_IMAGES:
            return [sample]
        self._alone.update(row.index for row in sample)
        return [(row,) for row in sample]

    def _choose(self, samples: Sequence[Rows]) -> list[str]:
        chosen: dict[int, str] = {}
        taken: set[str] = set()
        for candidate in (_source_key, _id_key, _flat_key):
            left = {at: candidate(sample[0]) for at, sample in enumerate(samples) if at not in chosen}
            times = Counter(left.values())
            found = {at: key for at, key in left.items() if times[key] == 1 and key not in taken}
            found = {at: key for at, key in found.items() if self._is_usable(key, samples[at])}
            chosen.update(found)
            taken.update(found.values())
        for at, sample in enumerate(samples):
            if at not in chosen:
                key = f"row-{sample[0].index:010d}"
                while key in taken:
                    key += "_"
                chosen[at] = key
                taken.add(key)
        return [chosen[at] for at in range(len(samples))]

    def _is_usable(self, key: str, sample: Rows) -> bool:
        names = (self._name(row, key) for row in sample)
        hidden = posixpath.basename(key).startswith((".", "__"))  # because Hugging Face's `datasets` skips such members
        return (
            not hidden
            and is_safe(key)
            and is_readable_key(key)
            and all(fits_header(name + LONGEST_SUFFIX) for name in names)
        )

    def _name(self, row: ManifestRow, key: str, suffix: str = _LONGEST_IMAGE) -> str:
        """Return the name of an image: with the source's own extension if it comes from a tar and its format is kept."""
        extension = _extension(row, is_alone=row.index in self._alone)
        if extension and self._keep_format:
            return f"{key}.{extension}"
        inner = posixpath.splitext(extension)[0] if "." in extension else ""
        return f"{key}.{inner}{suffix}" if inner else key + suffix


def _samples(rows: Sequence[ManifestRow]) -> Iterator[Rows]:
    """Yield the rows of each sample: those of one tar that share a key and stand beside each other."""
    for (address, _), beside in groupby(rows, key=lambda row: (_tar_of(row), _source_key(row))):
        if address:
            yield tuple(beside)
        else:
            yield from ((row,) for row in beside)


def _tar_of(row: ManifestRow) -> str:
    """Return the address of the tar that holds a row's image, "" if none does."""
    return row.uri if row.offset is not None and row.uri.lower().endswith(_TAR) else ""


def _source_key(row: ManifestRow) -> str:
    if isinstance(given := row.extra.get(KEY_COLUMN), str):
        return given
    if _tar_of(row):
        return sample_key(path_in_tar(row.image_id, row.uri))
    return _without_dots(row.image_id)


def _id_key(row: ManifestRow) -> str:
    folder, name = posixpath.split(row.image_id)
    return sample_key(row.image_id) if _tar_of(row) else posixpath.join(folder, name.replace(".", "_"))


def _flat_key(row: ManifestRow) -> str:
    return _without_dots(path_in_tar(row.image_id, row.uri)) if _tar_of(row) else ""


def _without_dots(path: str) -> str:
    folder, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0] if has_image_suffix(name) else name
    return posixpath.join(folder, stem.replace(".", "_"))


def path_in_tar(image_id: str, address: str) -> str:
    """Return the path of an image inside its tar: its id without the path of the tar, which importers put in front.

    Args:
        image_id: `FOLDER/NAME/path/in/tar.jpg`, or the path alone.
        address: of the tar, `.../FOLDER/NAME.tar`.
    """
    segments, tar = image_id.split("/"), address[: -len(_TAR)].split("/")
    starts = [at for at in range(1, min(len(segments), len(tar) + 1)) if segments[:at] == tar[-at:]]
    return "/".join(segments[max(starts, default=0) :])


def _extension(row: ManifestRow, *, is_alone: bool) -> str:
    """Return what stands behind the key in the name of an image of a tar: `left.jpg`, or the suffix if it shares no sample."""
    name = posixpath.basename(row.image_id)
    if not _tar_of(row) or not has_image_suffix(name):
        return ""
    extension = posixpath.splitext(name)[1].removeprefix(".") if is_alone else name.partition(".")[2]
    return extension if len(extension.encode()) <= _MOST_EXTENSION_BYTES else ""
