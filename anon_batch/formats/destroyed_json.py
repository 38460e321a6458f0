"""destroyed.json: which private files of a run were destroyed, when, and who says so. Public, because readers are to know it."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.versions import explain_other_version

DESTROYED_VERSION = 1
LEDGER, RUN_KEY, SEAL, IDENTITY_KEY, LINK = "ledger", "run key", "seal", "identity key", "link"


@dataclasses.dataclass(frozen=True, slots=True)
class Destruction:
    """That something private was destroyed.

    Args:
        what: `ledger`, `run key`, `identity key`, `seal` or `link`, the index of faces.
        destroyed_at: UTC, ISO 8601.
        said_by: who says that no copy and no backup of it is left.
        deleted_count: objects that anon-batch deleted; 0 if it was destroyed by other means.
        versions_left: earlier versions that its bucket still holds; None if its store cannot say.
        complete: whether all of it was deleted; false while or after a deletion that did not end.
    """

    what: str
    destroyed_at: str
    said_by: str
    deleted_count: int
    versions_left: int | None
    complete: bool

    @property
    def counts(self) -> bool:
        """Whether it may be called destroyed: all of it was deleted, and no version of it is known to be left."""
        return self.complete and not self.versions_left


@dataclasses.dataclass(frozen=True, slots=True)
class Destroyed:
    """What was destroyed of the private files of one run, each thing once.

    Args:
        run_id: of the run.
        things: in the order in which they were destroyed.
    """

    run_id: str
    things: tuple[Destruction, ...] = ()

    def find(self, what: str) -> Destruction | None:
        """Return what is recorded about a thing; None if nothing is."""
        return next((own for own in self.things if own.what == what), None)

    def with_(self, new: Destruction) -> Destroyed:
        """Return the record with a thing added, or replaced."""
        others = tuple(own for own in self.things if own.what != new.what)
        return dataclasses.replace(self, things=(*others, new))

    def to_json(self) -> bytes:
        """Return the content of destroyed.json."""
        return json.dumps({"version": DESTROYED_VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Destroyed:
        """Parse destroyed.json; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            if (version := fields.pop("version")) != DESTROYED_VERSION:
                raise ConfigError(explain_other_version(uri, "release", version, DESTROYED_VERSION))
            record = cls(**{**fields, "things": tuple(Destruction(**own) for own in fields["things"])})
            for own in record.things:
                _check(own)
            if len({own.what for own in record.things}) != len(record.things):
                raise ValueError("a thing occurs twice")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return record


def _check(own: Destruction) -> None:
    if not all(isinstance(text, str) and text for text in (own.what, own.destroyed_at, own.said_by)):
        raise TypeError("what, destroyed_at and said_by must be text")
    datetime.fromisoformat(own.destroyed_at)
    counts = [own.deleted_count, *([] if own.versions_left is None else [own.versions_left])]
    if not all(type(count) is int and count >= 0 for count in counts) or type(own.complete) is not bool:
        raise TypeError("deleted_count and versions_left must be whole numbers from 0, complete true or false")
