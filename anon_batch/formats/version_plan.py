"""LEDGER/versions/<n>.json: who makes version n, and what was asked. Private.

Written once, before anything else of the version, so that a second, different command is refused and the same one resumes.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from typing import Any, Literal

from anon_batch.errors import IntegrityError, ResumeRefusedError
from anon_batch.formats.run_json import now
from anon_batch.formats.versions import explain_other_version

VERSION_PLAN_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class VersionPlan:
    """What a version has to do.

    Args:
        number: of the version, from 2.
        kind: `patch`, `erase` or `c2pa`.
        request: what was asked, as JSON values; the same command gives the same. It must not hold what is to be erased.
        parent_stats_sha256: digest of stats.json before the version.
        token: tells the files of this plan from those of an abandoned one.
        created_at: UTC, ISO 8601.
        done: whether the version is published, what it replaced deleted, and the statistics made again.
    """

    number: int
    kind: Literal["patch", "erase", "c2pa"]
    request: Mapping[str, Any]
    parent_stats_sha256: str
    token: str = dataclasses.field(default_factory=lambda: secrets.token_hex(4))
    created_at: str = dataclasses.field(default_factory=now)
    done: bool = False

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return json.dumps({"version": VERSION_PLAN_VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> VersionPlan:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            ResumeRefusedError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            if (version := fields.pop("version")) != VERSION_PLAN_VERSION:
                raise ResumeRefusedError(explain_other_version(uri, "ledger", version, VERSION_PLAN_VERSION))
            plan = cls(**fields)
            texts = (plan.kind, plan.parent_stats_sha256, plan.token, plan.created_at)
            if type(plan.number) is not int or plan.number < 2 or not all(isinstance(text, str) for text in texts):
                raise TypeError("number must be a whole number from 2; kind, digests and times must be text")
            if not isinstance(plan.request, dict) or type(plan.done) is not bool:
                raise TypeError("request must be a mapping and done true or false")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return plan
