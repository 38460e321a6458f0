"""Bring a whole copy, one with provenance, to the last version, so that `verify` finds it complete.

New objects come first, then the parts of the provenance, then the file of the last version, which commits it; at the end what it
replaced is deleted. So the same command ends what a killed one began.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anon_batch.errors import ConfigError, IntegrityError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.part_digests import hash_parts
from anon_batch.formats.release import Part, Release
from anon_batch.formats.shard_contents import read_entries, write_entries
from anon_batch.formats.version_json import Version
from anon_batch.pipeline.versions.finish import delete_replaced
from anon_batch.records import ShardSpec
from anon_batch.release.apply.news import News
from anon_batch.shards import effective
from anon_batch.storage import PARTIAL_PREFIX


@dataclasses.dataclass(slots=True)
class Update:
    """What was done to a copy, or would be.

    Args:
        was: version of the copy before.
        removed: images that are not in the copy any more.
        replaced: images that a patch has changed.
        written: tars and Parquet files that were written again.
        missing: images and shard files of the new version that are in neither folder, so that the copy is not whole.
    """

    was: int
    removed: int = 0
    replaced: int = 0
    written: int = 0
    missing: list[str] = dataclasses.field(default_factory=list)


def version_of(copy: Release, versions: Sequence[Version]) -> int:
    """Return which version of a release a copy is; the last one too if bringing it there was interrupted.

    Raises:
        ConfigError: it is a copy of none.
    """
    last = layout.version_file(len(versions))
    try:
        if copy.read(last) == versions[-1].to_json():
            return len(versions)
    except ObjectNotFoundError:
        pass
    own = copy.versions
    number = len(own) or 1
    alike = [mine.sha256 for mine in own] == [theirs.sha256 for theirs in versions[: len(own)]]
    if number <= len(versions) and alike and hash_parts(copy) == versions[number - 1].parts_sha256:
        return number
    raise ConfigError(
        f"{copy.uri}: not a copy of an earlier version of this release, because its provenance is another one, or was changed. "
        "--by-digest looks for erased images by their digests alone"
    )


def update_copy(copy: Release, news: News, *, dry_run: bool) -> Update:
    """Bring a copy with provenance to the last version; return what was done, or with `dry_run` would be.

    Raises:
        ConfigError: it is not a copy of an earlier version.
        IntegrityError: copy or new release is damaged.
        StorageError: storage fails or refuses; the same call goes on later.
    """
    update = Update(version_of(copy, news.versions))
    if update.was < len(news.versions):
        for spec in effective(news.release.parts()):
            if copy.part_key(spec) != news.release.part_key(spec):
                _Shard(copy, news.release, spec, update, dry_run=dry_run).update()
    if not dry_run:
        for version in reversed(
            news.versions
        ):  # because the last one commits, and earlier ones have no parts here any more
            copy.put(layout.version_file(version.number), version.to_json())
        copy.look_up_versions()
        delete_replaced(copy)
        _copy_small_files(copy, news.release)
    return update


class _Shard:
    """One shard whose part is another one in the new version."""

    def __init__(self, copy: Release, new: Release, spec: ShardSpec, update: Update, *, dry_run: bool) -> None:
        self._copy, self._new, self._spec, self._update, self._dry_run = copy, new, spec, update, dry_run

    def update(self) -> None:
        old, new = self._copy.read_part(self._spec), self._new.read_part(self._spec)
        pairs = list(zip(old.table.to_pylist(), new.table.to_pylist(), strict=True))
        self._update.removed += sum(bool(was["output"] and not now["output"]) for was, now in pairs)
        changed = [now for was, now in pairs if now["output"] and now["sha256"] != was["sha256"]]
        self._update.replaced += len(changed)
        if any(now["member"] for _, now in pairs):
            self._write_shard_file(old, new, pairs, is_patched=bool(changed))
        else:
            for was, now in pairs:
                if now["output"] and now["output"] != was["output"] and not now["member"]:
                    self._fetch(now["output"], now["sha256"])
        self._put(self._new.part_key(self._spec), self._new.read(self._new.part_key(self._spec)))

    def _write_shard_file(
        self, old: Part, new: Part, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *, is_patched: bool
    ) -> None:
        key = next(now["output"] for _, now in pairs if now["member"])
        self._update.written += 1
        if is_patched:
            self._fetch(key, new.meta.shard_sha256)
            return
        was = next(own["output"] for own, _ in pairs if own["member"])
        try:
            data = self._copy.read(was)
        except ObjectNotFoundError:
            self._fetch(key, new.meta.shard_sha256)
            return
        if hashlib.sha256(data).hexdigest() != old.meta.shard_sha256:
            raise IntegrityError(f"{self._copy.address(was)}: damaged, its digest is not the one in its part")
        entries = read_entries(data, was)
        left = write_entries([entries[own["member"]] for own, now in pairs if now["member"] and own["member"]], key)
        if hashlib.sha256(left).hexdigest() == new.meta.shard_sha256:
            self._put(key, left)
        else:  # because another version of a library wrote the new one
            self._fetch(key, new.meta.shard_sha256, left)

    def _fetch(self, key: str, sha256: str, otherwise: bytes | None = None) -> None:
        """Copy an object from the new release; if it is not there, put what is given, and note that it is missing."""
        try:
            data = self._new.read(key)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise IntegrityError(f"{self._new.address(key)}: damaged, its digest is not the one in its part")
            self._put(key, data)
        except ObjectNotFoundError:
            self._update.missing.append(key)
            if otherwise is not None:
                self._put(key, otherwise)

    def _put(self, key: str, data: bytes) -> None:
        if not self._dry_run:
            self._copy.put(key, data)


def _copy_small_files(copy: Release, new: Release) -> None:
    """Make all files of the copy but images, shard files and provenance those of the new release."""
    theirs = set(_small_files(new))
    for key in sorted(theirs):
        data = new.read(key)
        try:
            if copy.read(key) == data:
                continue
        except ObjectNotFoundError:
            pass
        copy.put(key, data)
    own = [key for key in _small_files(copy) if key in layout.SINGLE_FILES or layout.is_images_metadata(key)]
    copy.delete(sorted(set(own) - theirs))  # because they describe the version before; others are the recipient's


def _small_files(release: Release) -> Iterator[str]:
    large = (layout.IMAGES, layout.SHARDS, layout.PROVENANCE, layout.VERSIONS)
    for info in release.objects(""):
        is_partial = info.key.rpartition("/")[2].startswith(PARTIAL_PREFIX)
        is_small = info.key.partition("/")[0] not in large or info.key in layout.SINGLE_FILES
        if (is_small and not is_partial) or layout.is_images_metadata(info.key):
            yield info.key
