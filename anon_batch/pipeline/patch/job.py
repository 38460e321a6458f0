"""What a patch has to do: the release as it is, the job that does rows again, and which rows are asked for."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anon_batch import __version__
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError, unknown_name
from anon_batch.formats import layout
from anon_batch.formats.current_run import CHANGEABLE, current_settings
from anon_batch.formats.destroyed_json import RUN_KEY
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import Plan
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import OUTPUT_SECTIONS, RunJson
from anon_batch.formats.tombstone import ERASED
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.fingerprint import fingerprint
from anon_batch.pipeline.identify.basis import compares_faces
from anon_batch.pipeline.identify.columns import found_persons, private_columns
from anon_batch.pipeline.patch.drawn import read_drawn_boxes
from anon_batch.pipeline.patch.settings import (
    Changes,
    check_same_job,
    compare_settings,
    current_models,
)
from anon_batch.pipeline.scan_manifest import scan_manifest
from anon_batch.pipeline.secret_keys import read_run_key
from anon_batch.pipeline.versions.begin import check_finished
from anon_batch.reasons import REASONS


@dataclass(frozen=True, slots=True)
class Ask:
    """Which rows a patch is asked to do again, besides those that other settings change.

    Args:
        verdicts: rows in which people drew something that was missed.
        retry: reason codes; rows without an output for one of them.
    """

    verdicts: bool = False
    retry: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatchJob:
    """Everything that finding and redoing rows needs. Picklable.

    Args:
        release: the public files, at the version before.
        ledger: the private files.
        record: run.json.
        plan: of the run.
        config: the job that does rows again; its output and ledger are not used.
        models: `name@sha256` of its models.
        run_key: the run's secret.
        ask: which rows are asked for.
        changes: what its settings change.
        drawn: image id -> all boxes that people drew in reviews of this release.
        boxless: images that were marked as showing something missed, without a box around it.
    """

    release: Release
    ledger: Ledger
    record: RunJson
    plan: Plan
    config: JobConfig
    models: tuple[str, ...]
    run_key: bytes = field(repr=False)
    ask: Ask
    changes: Changes
    drawn: Mapping[str, tuple[DrawnBox, ...]]
    boxless: int = 0

    def planned_rows(self) -> PlannedRows:
        """Return a reader of the run's rows."""
        return PlannedRows(self.ledger, self.plan.rows_id, self.plan.total)

    @property
    def request(self) -> dict[str, Any]:
        """What was asked, as JSON values: the same command gives the same."""
        return {
            "settings": self.config.model_dump(mode="json", include=set(CHANGEABLE)),
            "models": list(self.models),
            "verdicts": self.ask.verdicts,
            "retry": list(self.ask.retry),
        }

    @property
    def search_sha256(self) -> str:
        """Digest of everything that decides which rows are found."""
        drawn = {name: [[*box.edges, box.label] for box in boxes] for name, boxes in sorted(self.drawn.items())}
        facts = [__version__, self.request, self.release.version, self.release.read_stats().sha256, drawn]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def job_base(release: Release, ledger: Ledger) -> dict[str, Any]:
    """Return the keys of the job that made a release, as far as release and ledger know them.

    Raises:
        ConfigError, ResumeRefusedError, IntegrityError: as `check_finished`.
    """
    record, plan = check_finished(release, ledger), ledger.plan()
    if plan is None:
        raise IntegrityError(f"{ledger.uri}: no {layout.LEDGER_PLAN}")
    sections = {name: record.config[name] for name in OUTPUT_SECTIONS if name in record.config and name != "sample"}
    return {
        "name": record.name or "release",
        **copy.deepcopy({**sections, **current_settings(record, release.versions)}),  # because `--set` changes it
        "manifest": plan.sources.get("manifest") or "none",
        "sources": {"allow": plan.sources.get("allow")},
        "output": release.uri,
        "ledger": ledger.uri,
    }


def open_patch(
    release: Release,
    ledger: Ledger,
    config: JobConfig,
    ask: Ask,
    load_models: Callable[[JobConfig], Sequence[str]],
    *,
    reads_manifest: bool,
) -> PatchJob:
    """Open a finished release for a patch, and check that the job is one that a patch can do.

    Args:
        release: what is patched.
        ledger: of its run.
        config: the job that does rows again.
        ask: which rows are asked for.
        load_models: returns `name@sha256` of the models of a job; raises for wrong names, options and weights.
        reads_manifest: whether the job names its manifest, whose rows must then be those of the run.

    Raises:
        ConfigError: there is no such release or ledger, the release is not finished, or the key is wrong.
        ResumeRefusedError: the job changes what a patch cannot change, or another command has begun a version.
        UnknownNameError: a reason code that does not exist.
        IntegrityError: release or ledger is damaged.
    """
    record, plan = check_finished(release, ledger), ledger.plan()
    if plan is None:
        raise IntegrityError(f"{ledger.uri}: no {layout.LEDGER_PLAN}")
    _check_reasons(ask.retry)
    begun = ledger.version_in_the_making()
    if begun is not None and begun.kind != "patch":
        raise ResumeRefusedError(
            f"{release.uri}: `anon-batch {begun.kind}` has begun version {begun.number} and did not end. Run that command "
            "again to finish it, then this one"
        )
    models = tuple(load_models(config))
    _check_run_key(release, ledger, config, record.run_id)
    run_key = read_run_key(config, ledger)
    before = current_settings(record, release.versions)
    check_same_job(
        release.uri, plan, _fingerprint(release, ledger, config, models, run_key, reads_manifest=reads_manifest)
    )
    changes = compare_settings(before, config, current_models(plan, release.versions), models)
    drawn, boxless = read_drawn_boxes(ledger, record.run_id)
    return PatchJob(release, ledger, record, plan, config, models, run_key, ask, changes, drawn, boxless)


def _check_run_key(release: Release, ledger: Ledger, config: JobConfig, run_id: str) -> None:
    if config.run_key_file is not None or ledger.run_key() is not None:
        return
    gone = release.read_destroyed(run_id).find(RUN_KEY)
    raise ResumeRefusedError(
        f"the run key of {release.uri} was destroyed ({gone.destroyed_at}), so no row can be done again with the same seeds"
        if gone is not None
        else f"no run key in {ledger.uri}: the run took it from a file; name it by --job, or --set run_key_file=FILE"
    )


def _check_reasons(codes: Sequence[str]) -> None:
    for code in codes:
        if code == ERASED:
            raise ConfigError("--retry erased: what was erased stays erased")
        if code not in REASONS:
            raise unknown_name("reason", code, REASONS)


def _fingerprint(
    release: Release, ledger: Ledger, config: JobConfig, models: Sequence[str], run_key: bytes, *, reads_manifest: bool
) -> dict[str, Any]:
    """Return the fingerprint of the job, without the digest of rows that nobody gave or that are not all left."""
    rows_sha256, total = "", 0
    if reads_manifest and (compared := not any(version.tombstones for version in release.versions)):
        rows = scan_manifest(config, ledger, None, private_columns(config, ledger))
        rows_sha256, total = rows.sha256, rows.total
    else:
        compared = False
    persons = found_persons(config, ledger).made_sha256 if compares_faces(config) else None
    current = fingerprint(config, rows_sha256, total, models, run_key, persons)
    if not compared:
        del current["manifest rows"], current["manifest row count"]
    if not reads_manifest:  # because the ledger's rows are the sample already
        current = {key: value for key, value in current.items() if key.partition(".")[0] != "sample"}
    return current
