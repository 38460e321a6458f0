"""A run on storage: what the plan says, where it lies, and how one is opened or resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anon_batch import __version__
from anon_batch.config import JobConfig
from anon_batch.errors import (
    ConfigError,
    IntegrityError,
    ManifestError,
    ObjectExistsError,
    ObjectNotFoundError,
    ResumeRefusedError,
    StorageError,
)
from anon_batch.formats import layout
from anon_batch.pipeline.fingerprint import differences, fingerprint
from anon_batch.pipeline.scan_manifest import scan_manifest
from anon_batch.storage import Storage, absolute, join

PLAN_VERSION = 1
MIN_RUN_KEY_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. Written once into the ledger, then only read.

    Args:
        run_id: names the run in every part.
        total: rows.
        shard_rows: rows of a round-1 shard.
        models: `name@sha256` of every model.
        fingerprint: what a resume must agree with.
        rows_id: names the folder of the ledger that holds the rows. Each start that finds no plan writes one of its own, so that
            of two drivers which start at once neither writes over the rows of the other.
        created_at: UTC, ISO 8601.
    """

    run_id: str
    total: int
    shard_rows: int
    models: tuple[str, ...]
    fingerprint: Mapping[str, Any]
    rows_id: str
    created_at: str

    def to_json(self) -> bytes:
        return json.dumps({"version": PLAN_VERSION, **dataclasses.asdict(self)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Plan:
        try:
            fields = json.loads(data)
            version = fields.pop("version")
            if version != PLAN_VERSION:
                raise ResumeRefusedError(f"{uri}: plan of version {version}; this package reads {PLAN_VERSION}")
            plan = cls(**{**fields, "models": tuple(fields["models"])})
            if (
                type(plan.total) is not int
                or type(plan.shard_rows) is not int
                or not isinstance(plan.fingerprint, dict)
            ):
                raise TypeError("a field of the wrong type")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: not a plan ({exc})") from None
        return plan


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything that a worker needs to process a shard. Picklable.

    Args:
        config: the job.
        plan: what is to be done.
        run_key: the secret that seeds faces.
        invocation: names this start of the driver; attempts are counted by it.
    """

    config: JobConfig
    plan: Plan
    run_key: bytes = dataclasses.field(repr=False)
    invocation: str = ""

    @property
    def output(self) -> str:
        return absolute(self.config.output_uri)

    @property
    def ledger(self) -> str:
        return absolute(self.config.ledger_uri)

    @property
    def rows(self) -> str:
        """Address of the plan's rows."""
        return join(self.ledger, layout.rows_folder(self.plan.rows_id))

    def storage(self) -> Storage:
        return Storage(self.config.storage)


def open_run(config: JobConfig, models: Sequence[str]) -> tuple[Run, bool]:
    """Starts a run, or takes up the one that OUTPUT's ledger holds.

    Args:
        config: the job.
        models: `name@sha256` of every model that it uses.

    Returns:
        The run, and whether it is resumed.

    Raises:
        ManifestError: the manifest is wrong; nothing was written but unused row chunks.
        ResumeRefusedError: OUTPUT belongs to a different job; the message names what differs.
        StorageError: manifest, output or ledger cannot be reached.
    """
    storage = Storage(config.storage)
    output, ledger = absolute(config.output_uri), absolute(config.ledger_uri)
    _check_places(output, ledger)
    plan_uri = join(ledger, layout.LEDGER_PLAN)
    stored = read_plan(storage, ledger)
    if stored is None and _holds_a_release(storage, output):
        stored = read_plan(storage, ledger)  # another driver may have started the same job since
        if stored is None:
            raise ResumeRefusedError(
                f"{output} holds a release, but its ledger is not at {ledger}; name the right one with `ledger`, or choose "
                "another output"
            )
    if stored is None:
        storage.make_private(ledger)
    rows_id = secrets.token_hex(4)
    rows = scan_manifest(storage, config, None if stored else join(ledger, layout.rows_folder(rows_id)))
    if rows.total == 0:
        raise ManifestError(f"{config.manifest}: no rows")
    run_key = _run_key(storage, config, ledger, new=stored is None)
    mark = fingerprint(config, rows.sha256, rows.total, models, run_key)
    if stored is None:
        stored = _publish(
            storage,
            plan_uri,
            Plan(
                run_id=secrets.token_hex(8),
                total=rows.total,
                shard_rows=config.engine.shard_rows,
                models=tuple(models),
                fingerprint=mark,
                rows_id=rows_id,
                created_at=now(),
            ),
        )
        resumed = False
    else:
        resumed = True
    if found := differences(stored.fingerprint, mark):
        raise ResumeRefusedError(
            f"{output} belongs to a different job. What differs: {'; '.join(found)}. Run the original job again to resume "
            "it, or choose another output"
        )
    run = Run(config, stored, run_key, invocation=secrets.token_hex(4))
    write_run_json(storage, run, {"state": "running"})
    return run, resumed


def write_run_json(storage: Storage, run: Run, extra: Mapping[str, Any]) -> None:
    """Publishes run.json: what made this release, with no address and no secret in it."""
    public = run.config.model_dump(mode="json", include={"name", "sample", "detect", "anonymize", "write", "limits"})
    record = {
        "format_version": 1,
        "run_id": run.plan.run_id,
        "tool": "anon-batch",
        "tool_version": __version__,
        "created_at": run.plan.created_at,
        "rows": run.plan.total,
        "shard_rows": run.plan.shard_rows,
        "models": list(run.plan.models),
        "config": public,
        **extra,
    }
    storage.put(join(run.output, layout.RUN), json.dumps(record, indent=1).encode())


def read_run_json(storage: Storage, output: str) -> dict[str, Any]:
    """run.json of a release.

    Raises:
        ConfigError: there is no release at `output`.
        IntegrityError: run.json is damaged.
    """
    uri = join(absolute(output), layout.RUN)
    try:
        record = json.loads(storage.read(uri))
        if not isinstance(record, dict) or type(record.get("rows")) is not int or record["rows"] < 1:
            raise ValueError("no row count")
        if not all(isinstance(record.get(key), str) for key in ("run_id", "created_at", "state")):
            raise ValueError("no run id, time or state")
        if not isinstance(record.get("config"), dict) or not isinstance(record.get("statuses", {}), dict):
            raise ValueError("no configuration, or no statuses")
    except ObjectNotFoundError:
        raise ConfigError(f"{output}: no release here (no {layout.RUN}); name the OUTPUT of a run") from None
    except ValueError as exc:
        raise IntegrityError(f"{uri}: damaged ({exc})") from None
    return record


def now() -> str:
    """The time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_places(output: str, ledger: str) -> None:
    if output == ledger or ledger.startswith(output + "/"):
        raise ConfigError(f"ledger {ledger} lies inside output {output}: it is private, so it needs a place of its own")
    if output.startswith(ledger + "/"):
        raise ConfigError(f"output {output} lies inside ledger {ledger}: they need separate places")


def read_plan(storage: Storage, ledger: str) -> Plan | None:
    """The plan of a ledger, None where there is none.

    Raises:
        IntegrityError: it is damaged.
        ResumeRefusedError: it is of another version of this package.
    """
    uri = join(ledger, layout.LEDGER_PLAN)
    try:
        return Plan.from_json(storage.read(uri), uri)
    except ObjectNotFoundError:
        return None


def _holds_a_release(storage: Storage, output: str) -> bool:
    """Parts and pictures of an older run would be taken for ones of this."""
    if storage.exists(join(output, layout.RUN)):
        return True
    return any(next(storage.list(join(output, f)), None) for f in (layout.PROVENANCE, layout.IMAGES, layout.SHARDS))


def _publish(storage: Storage, uri: str, plan: Plan) -> Plan:
    try:
        storage.put_if_absent(uri, plan.to_json())
    except ObjectExistsError:  # another driver started the same output at the same time: its plan counts
        return Plan.from_json(storage.read(uri), uri)
    return plan


def _run_key(storage: Storage, config: JobConfig, ledger: str, *, new: bool) -> bytes:
    if config.run_key_file is not None:
        try:
            key = storage.read(absolute(config.run_key_file))
        except StorageError as exc:
            raise ConfigError(f"run_key_file: {exc}") from None
        if len(key) < MIN_RUN_KEY_BYTES:
            raise ConfigError(
                f"run_key_file {config.run_key_file}: {len(key)} bytes, needs at least {MIN_RUN_KEY_BYTES}"
            )
        return key
    uri = join(ledger, layout.LEDGER_RUN_KEY)
    if new:
        with contextlib.suppress(ObjectExistsError):  # an earlier start ended between key and plan
            storage.put_if_absent(uri, secrets.token_bytes(MIN_RUN_KEY_BYTES))
    try:
        return storage.read(uri)
    except ObjectNotFoundError:
        raise ResumeRefusedError(
            f"{uri} is gone: the run key was destroyed, so no further face can be treated alike. The release stays as it is"
        ) from None
