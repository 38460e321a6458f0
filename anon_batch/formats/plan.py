"""plan.json: what a run has to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from anon_batch.errors import IntegrityError, ResumeRefusedError
from anon_batch.formats.splits import Split
from anon_batch.formats.versions import explain_other_version

PLAN_VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do. Written once into the ledger, then only read.

    Args:
        run_id: names the run in every part.
        total: number of rows.
        shard_rows: rows of a shard of the first round.
        models: `name@sha256` of every model.
        fingerprint: what a resumed run must agree with, as JSON values by dotted name.
        rows_id: names the folder of the ledger that holds the rows. Each start that finds no plan writes a folder of its
            own, so that two drivers that start at once do not overwrite each other's rows.
        created_at: UTC, ISO 8601.
        columns: which pass-through columns are published and which are not; see `RunJson`.
        splits: ranges of rows; see `RunJson`.
        starts: first rows of the shards of the first round, if these follow the source; none if each has `shard_rows` rows.
        sources: address of the `manifest`, and `allow` of the job's `sources`, so that the same sources may be read again.
    """

    run_id: str
    total: int
    shard_rows: int
    models: tuple[str, ...]
    fingerprint: Mapping[str, Any]
    rows_id: str
    created_at: str
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    starts: tuple[int, ...] = ()
    sources: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Rows that begin a shard, ascending: the first ones of splits, because a shard of two could be loaded as neither.

        Shards that follow the source begin and end at cuts, so that those at the end are not made smaller.
        """
        splits = {split.start for split in self.splits[1:]}
        return tuple(sorted(splits | {*self.starts[1:], self.total} if self.starts else splits))

    def to_json(self) -> bytes:
        """Return the content of plan.json."""
        return json.dumps({"version": PLAN_VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Plan:
        """Parse plan.json; `uri` is its address, for messages.

        Raises:
            ResumeRefusedError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("version")
            if version != PLAN_VERSION:
                raise ResumeRefusedError(explain_other_version(uri, "ledger", version, PLAN_VERSION))
            fields["splits"] = tuple(map(Split.from_json, fields.get("splits", ())))
            fields["starts"] = tuple(fields.get("starts", ()))
            plan = cls(**{**fields, "models": tuple(fields["models"])})
            if type(plan.total) is not int or type(plan.shard_rows) is not int:
                raise TypeError("total and shard_rows must be whole numbers")
            if any(type(row) is not int for row in plan.starts):
                raise TypeError("starts must be whole numbers")
            if not all(isinstance(own, dict) for own in (plan.fingerprint, plan.columns, plan.sources)):
                raise TypeError("fingerprint, columns and sources must be mappings")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged plan ({exc})") from None
        return plan
