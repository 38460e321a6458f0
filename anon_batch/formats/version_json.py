"""versions/<n>.json: which parts make version n of a release, what changed, and the digest of its parent. Public.

Version 1 is what the run made; `patch`, `erase` and `c2pa` make the later ones. The file's existence is the commit
of its version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from anon_batch import __version__
from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.versions import explain_other_version

VERSION_JSON_VERSION = 1
KINDS = ("run", "patch", "erase", "c2pa")


@dataclasses.dataclass(frozen=True, slots=True)
class Tombstone:
    """A row that was erased.

    Args:
        row: its number in the release, from 0.
        digest: of the output that it had, by which a recipient finds a copy, see `tombstone.digest_of`; empty if it had none.
    """

    row: int
    digest: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """One version of a release.

    Args:
        number: from 1.
        kind: what made it.
        run_id: of the release's run.
        created_at: UTC, ISO 8601.
        parts_sha256: digest of all provenance parts of this version, see `part_digests`.
        parent_sha256: digest of the file of the version before; empty for version 1.
        parent_stats_sha256: digest of stats.json before this version, so that evidence about it is recognised.
        parts: names (START-COUNT) of the shards whose part this version wrote, in row order; version 1 lists none.
        tombstones: rows that this version erased, in row order.
        changes: what changed -> number of rows, for example `anonymized` or `withheld`.
        config: public sections of the job that made the changed rows, where they differ from those of the version before.
        models: `name@sha256` of the models of that job.
        tool_version: of this package.
    """

    number: int
    kind: Literal["run", "patch", "erase", "c2pa"]
    run_id: str
    created_at: str
    parts_sha256: str
    parent_sha256: str = ""
    parent_stats_sha256: str = ""
    parts: tuple[str, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    changes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    models: tuple[str, ...] = ()
    tool_version: str = __version__

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the content of the file; the same version gives the same bytes."""
        return json.dumps({"version": VERSION_JSON_VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Version:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            if (version := fields.pop("version")) != VERSION_JSON_VERSION:
                raise ConfigError(explain_other_version(uri, "release", version, VERSION_JSON_VERSION))
            tombstones = tuple(Tombstone(**own) for own in fields["tombstones"])
            lists = {"parts": tuple(fields["parts"]), "models": tuple(fields["models"]), "tombstones": tombstones}
            read = cls(**{**fields, **lists})
            _check(read)
            if read.to_json() != data:  # because the next version holds the digest of the bytes
                raise ValueError("not as it was written")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return read


def check_chain(versions: Sequence[Version]) -> Iterator[str]:
    """Yield what is wrong with the versions of one release, in order of their numbers: numbers, parents, runs."""
    for at, version in enumerate(versions):
        if version.number != at + 1:
            yield f"version {at + 1} is missing"
            return
        if (version.kind == "run") != (at == 0):
            yield f"version {version.number} says that it was made by `{version.kind}`"
        if version.run_id != versions[0].run_id:
            yield f"version {version.number} is of run {version.run_id}, version 1 of {versions[0].run_id}"
        if version.parent_sha256 != (versions[at - 1].sha256 if at else ""):
            yield f"version {version.number} does not follow version {at}: its parent has another digest"


def _check(version: Version) -> None:
    texts = (
        version.run_id,
        version.created_at,
        version.parts_sha256,
        version.parent_sha256,
        version.parent_stats_sha256,
        version.tool_version,
    )
    if not all(isinstance(text, str) for text in (*texts, *version.parts, *version.models)):
        raise TypeError("digests, names and times must be text")
    datetime.fromisoformat(version.created_at)
    if version.kind not in KINDS:
        raise ValueError(f"kind {version.kind!r}")
    if type(version.number) is not int or version.number < 1:
        raise TypeError(f"number: {version.number!r}, expected a number from 1")
    for tombstone in version.tombstones:
        if type(tombstone.row) is not int or tombstone.row < 0 or not isinstance(tombstone.digest, str):
            raise TypeError("a tombstone is a row number from 0 and a digest")
    if not isinstance(version.changes, dict) or not all(type(count) is int for count in version.changes.values()):
        raise TypeError("changes must be a mapping of whole numbers")
    if not isinstance(version.config, dict):
        raise TypeError("config must be a mapping")
