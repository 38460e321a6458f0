"""run.json: what made a release, without addresses and secrets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from anon_batch import __version__
from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.splits import Split, metadata_keys
from anon_batch.formats.versions import explain_other_version

RUN_JSON_VERSION = 2
# The sections that the outputs depend on; a resumed run must agree with them.
OUTPUT_SECTIONS = ("sample", "detect", "anonymize", "checks", "write", "publish", "limits")
# The sections that are published, because they hold no address and no secret.
PUBLIC_SECTIONS = (*OUTPUT_SECTIONS, "gates", "compliance")


@dataclasses.dataclass(frozen=True, slots=True)
class RunJson:
    """The public description of a run.

    Args:
        run_id: as in the provenance.
        created_at: start of the first invocation, UTC, ISO 8601.
        rows: number of manifest rows.
        shard_rows: rows of a shard of the first round.
        models: `name@sha256` of every model.
        config: `name` and the public sections of the job.
        state: `running`, or `finished` once every row has its commit.
        finished_at: UTC, ISO 8601; None while it runs.
        statuses: status -> rows; None while it runs.
        columns: which pass-through columns are `published`, which columns and keys are `withheld` and why, and how many values
            of published ones were `blanked` and why.
        source_shards: number of the source's shards, if the release keeps these; one with more parts had to divide some.
        splits: what the published column `split` makes of the rows, if each split is one range of them.
        tool_version: version of the package that wrote it.
    """

    run_id: str
    created_at: str
    rows: int
    shard_rows: int
    models: tuple[str, ...]
    config: Mapping[str, Any]
    state: Literal["running", "finished"] = "running"
    finished_at: str | None = None
    statuses: Mapping[str, int] | None = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    source_shards: int | None = None
    tool_version: str = __version__

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.config.get("name", ""))

    @property
    def layout(self) -> str:
        """Layout of the outputs: `files`, `webdataset` or `parquet`."""
        return str(self.config.get("write", {}).get("layout", "files"))

    @property
    def mark_generated(self) -> bool:
        """Whether images with generated content hold the mark that says so."""
        return bool(self.config.get("write", {}).get("mark_generated", False))

    @property
    def gates(self) -> Mapping[str, float | None]:
        """Limits of the job: name of the gate -> limit, or None if it is switched off."""
        gates: Mapping[str, float | None] = self.config.get("gates", {})
        return gates

    @property
    def compliance(self) -> Mapping[str, str | None]:
        """What the owner says: key of `compliance` -> text, or None if it is not stated."""
        stated: Mapping[str, str | None] = self.config.get("compliance", {})
        return stated

    @property
    def metadata_keys(self) -> Mapping[str, tuple[int, int] | None]:
        """Keys of the files with the columns of the images in the layout `files`; see `splits.metadata_keys`."""
        return metadata_keys(self.splits) if self.layout == "files" else {}

    @property
    def is_finished(self) -> bool:
        """Whether every row has its commit."""
        return self.state == "finished"

    def finished(self, statuses: Mapping[str, int]) -> RunJson:
        """Return the description of the finished run; `statuses` maps status -> rows. A later version keeps its time."""
        return dataclasses.replace(
            self, state="finished", finished_at=self.finished_at or now(), statuses=dict(statuses)
        )

    def to_json(self) -> bytes:
        """Return the content of run.json."""
        fields = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        return json.dumps({"format_version": RUN_JSON_VERSION, "tool": "anon-batch", **fields}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> RunJson:
        """Parse run.json; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("format_version")
            if version != RUN_JSON_VERSION:
                raise ConfigError(explain_other_version(uri, "release", version, RUN_JSON_VERSION))
            fields.pop("tool")
            fields["splits"] = tuple(map(Split.from_json, fields.get("splits", ())))
            record = cls(**{**fields, "models": tuple(fields["models"])})
            _check(record)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return record


def _check(record: RunJson) -> None:
    texts = (record.run_id, record.created_at, record.state, record.tool_version, *record.models)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("run_id, created_at, state, tool_version and models must be text")
    if record.finished_at is not None:
        datetime.fromisoformat(record.finished_at)
    datetime.fromisoformat(record.created_at)
    if type(record.rows) is not int or record.rows < 1:
        raise TypeError(f"rows: {record.rows!r}, expected a number from 1")
    if not isinstance(record.config, dict) or not all(
        isinstance(record.config.get(section, {}), dict) for section in PUBLIC_SECTIONS
    ):
        raise TypeError("config must be a mapping of sections")
    if record.source_shards is not None and type(record.source_shards) is not int:
        raise TypeError(f"source_shards: {record.source_shards!r}, expected a number")
    if not isinstance(record.columns, dict):
        raise TypeError("columns must be a mapping")
    statuses = {} if record.statuses is None else record.statuses
    if not isinstance(statuses, dict) or not all(type(count) is int for count in statuses.values()):
        raise TypeError("statuses must be a mapping of whole numbers")


def now() -> str:
    """Return the time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
