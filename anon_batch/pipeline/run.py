"""Open a run: start it, or resume the one that the ledger holds."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, IntegrityError, ManifestError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.layout import Kind
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonsJson
from anon_batch.formats.plan import Plan
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import PUBLIC_SECTIONS, RunJson, now
from anon_batch.formats.seals_json import Seals
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.fingerprint import differences, fingerprint
from anon_batch.pipeline.identify.basis import check_basis, compares_faces
from anon_batch.pipeline.identify.columns import check_same_faces, found_persons, private_columns
from anon_batch.pipeline.recipients import prepare_kept, read_wanted
from anon_batch.pipeline.scan_manifest import scan_manifest
from anon_batch.pipeline.secret_keys import read_run_key
from anon_batch.pipeline.writers import Sink, open_sink
from anon_batch.records import ManifestRow
from anon_batch.redaction import redact_address
from anon_batch.storage import Storage, absolute
from anon_batch.storage.faults import writing


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything that a worker needs to process a shard. Picklable.

    Args:
        config: the job.
        plan: what has to be done.
        release: the public files.
        ledger: the private files.
        run_key: the secret that seeds derive from.
        invocation: names this start of the driver; attempts are counted by it.
        finished_at: when all rows had their commit for the first time, UTC, ISO 8601; None if some have none yet.
        kept: what is kept encrypted, and to whom, by kind.
        persons: how persons were found by comparing faces; None if they were not.
    """

    config: JobConfig
    plan: Plan
    release: Release
    ledger: Ledger
    run_key: bytes = dataclasses.field(repr=False)
    invocation: str = ""
    finished_at: str | None = None
    kept: Mapping[Kind, Seals] = dataclasses.field(default_factory=dict)
    persons: PersonsJson | None = None

    @property
    def storage(self) -> Storage:
        """Reads the sources, the models and the release."""
        return self.release.storage

    def planned_rows(self) -> PlannedRows:
        """Return a reader of the plan's rows."""
        return PlannedRows(self.ledger, self.plan.rows_id, self.plan.total)

    def open_sink(self, key: str, extra: pa.Schema, rows: Sequence[ManifestRow]) -> Sink:
        """Return what takes the images of one attempt at a shard; see `writers.open_sink`."""
        return open_sink(self.config.write, self.release, key, extra, rows)

    def describe(self) -> RunJson:
        """Return what is published about the run: no address and no secret."""
        return RunJson(
            run_id=self.plan.run_id,
            created_at=self.plan.created_at,
            rows=self.plan.total,
            shard_rows=self.plan.shard_rows,
            models=self.plan.models,
            config={
                **self.config.model_dump(mode="json", include={"name", *PUBLIC_SECTIONS}),
                **self._describe_keys(),
            },
            finished_at=self.finished_at,
            columns=self.plan.columns,
            splits=self.plan.splits,
            source_shards=len(self.plan.starts) if self.config.write.shards == "source" else None,
        )

    def _describe_keys(self) -> dict[str, Any]:
        """Return what is published about persons and what is kept: nothing of what is off."""
        said: dict[str, Any] = {}
        if self.config.identity.scope != "none":
            found = {} if self.persons is None else {"source": "cluster", **self.persons.public}
            said["identity"] = {"scope": self.config.identity.scope, **found}
        for kind, own in self.kept.items():
            said[kind] = {"what": own.what, "recipients": len(own.recipients)}
        return said


def open_run(config: JobConfig, models: Sequence[str], storage: Storage | None = None) -> tuple[Run, bool]:
    """Start a run, or resume the one that the ledger holds.

    Args:
        config: the job.
        models: `name@sha256` of every model that it uses.
        storage: reads and writes everything; by default what `config.storage` says.

    Returns:
        The run, and whether it is resumed.

    Raises:
        ConfigError: OUTPUT or ledger holds the manifest or a source, or one holds the other.
        ManifestError: the manifest is wrong; nothing was written but unused row chunks.
        ResumeRefusedError: OUTPUT belongs to a different job; the message names what differs.
        StorageError: manifest, output or ledger cannot be reached.
    """
    storage = storage or Storage(config.storage)
    release, ledger = Release(storage, config.output_uri), Ledger(storage, config.ledger_uri)
    check_separate(release.uri, ledger.uri, absolute(config.manifest))
    wanted = read_wanted(config, storage)
    check_basis(config)
    plan = _find_plan(release, ledger)
    _check_no_version_begun(release, ledger)
    resumed = plan is not None
    if resumed:  # because it may have been copied without its modes
        with writing("the ledger", "`ledger` or --output"):
            ledger.make_private()
    rows_id = secrets.token_hex(4)
    persons = found_persons(config, ledger) if compares_faces(config) else None
    if persons is not None:
        check_same_faces(config, persons)
    columns = private_columns(config, ledger, create=not resumed)
    rows = scan_manifest(config, ledger, None if resumed else rows_id, columns)
    if rows.total == 0:
        raise ManifestError(f"{config.manifest}: no rows")
    run_key = read_run_key(config, ledger, create=not resumed)
    made = None if persons is None else persons.made_sha256
    current = fingerprint(config, rows.sha256, rows.total, models, run_key, made)
    if plan is None:
        plan = ledger.publish_plan(
            Plan(
                run_id=secrets.token_hex(8),
                total=rows.total,
                shard_rows=rows.shard_rows,
                models=tuple(models),
                fingerprint=current,
                rows_id=rows_id,
                created_at=now(),
                columns=rows.columns,
                splits=rows.splits,
                starts=rows.starts,
                sources={
                    "manifest": redact_address(absolute(config.manifest)),
                    "allow": None if config.sources.allow is None else list(config.sources.allow),
                },
            )
        )
    if found := differences(plan.fingerprint, current):
        raise ResumeRefusedError(
            f"{release.uri} belongs to a different job. Differences: {'; '.join(found)}. Run the original job again to "
            "resume it, or choose another output"
        )
    kept = prepare_kept(wanted, ledger, plan.run_id)
    finished_at = _finished_at(release) if resumed else None
    run = Run(config, plan, release, ledger, run_key, secrets.token_hex(4), finished_at, kept, persons)
    if finished_at is None:
        with writing("the release", "--output"):
            release.write_run_json(run.describe())
    return run, resumed


def _finished_at(release: Release) -> str | None:
    """Return when the run finished, so that a command that finds nothing to do changes no byte of a signed release."""
    try:
        record = release.read_run_json()
    except (ConfigError, IntegrityError):  # because what is missing or damaged is written again
        return None
    return record.finished_at if record.is_finished else None


def check_separate(output: str, ledger: str, manifest: str) -> None:
    """Check that no private file would lie where files are published.

    Raises:
        ConfigError: one of the places lies inside another.
    """
    if manifest.startswith(output + "/"):
        raise ConfigError(
            f"manifest {manifest} lies inside output {output}: it names the sources and would be published; move it, or "
            "choose another `output`"
        )
    if output == ledger or ledger.startswith(output + "/"):
        raise ConfigError(f"ledger {ledger} lies inside output {output}: it is private, so it needs a place of its own")
    if output.startswith(ledger + "/"):
        raise ConfigError(f"output {output} lies inside ledger {ledger}: they need separate places")


def _check_no_version_begun(release: Release, ledger: Ledger) -> None:
    """Refuse to go on beside a new version in the making, because the end of a run deletes what no commit names."""
    if (begun := ledger.version_in_the_making()) is not None:
        raise ResumeRefusedError(
            f"{release.uri}: `anon-batch {begun.kind}` has begun version {begun.number} and did not end. Run that command "
            "again to finish it"
        )


def _find_plan(release: Release, ledger: Ledger) -> Plan | None:
    """Return the plan to resume; None to start, because OUTPUT is empty.

    Parts and images of another run would be taken for ones of this run, so an OUTPUT without its ledger is refused.
    """
    plan = ledger.plan()
    if plan is None and not release.is_empty():
        plan = ledger.plan()  # because another driver may have started the same job since
        if plan is None and not release.exists():
            raise ResumeRefusedError(
                f"{release.uri} is not empty and holds no release (no {layout.RUN}); choose another output, or move what "
                "lies there"
            )
        if plan is None:
            _check_not_destroyed(release, release.read_run_json().run_id)
            raise ResumeRefusedError(
                f"{release.uri} holds a release, but its ledger is not at {ledger.uri}; name the right one with "
                "`ledger`, or choose another output"
            )
    if plan is not None:
        _check_not_destroyed(release, plan.run_id)
    return plan


def _check_not_destroyed(release: Release, run_id: str) -> None:
    """Refuse to resume a run whose ledger or run key is on record as destroyed, because the record would be wrong then."""
    for own in release.read_destroyed(run_id).things:
        raise ResumeRefusedError(
            f"{release.uri}: the {own.what} of this release was destroyed ({own.destroyed_at}), so its run cannot be resumed. "
            "The release stays as it is; `anon-batch release OUTPUT --job JOB` renews the owner's words in it"
        )
