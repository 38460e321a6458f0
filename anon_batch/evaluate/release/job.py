"""What an evaluation of a release measures, and with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from anon_batch.config import DetectorConfig, JobConfig, validate
from anon_batch.errors import ConfigError
from anon_batch.formats import layout
from anon_batch.formats.current_run import current_run
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import OUTPUT_SECTIONS, RunJson
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.storage import Storage

_OPERATOR_SECTIONS = ("engine", "models", "storage")
_NO_MANIFEST = "none"
IDS = "image_id"  # as a column of classes, it gives the folder of each id


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseJob:
    """A finished release and what is measured about it. Picklable.

    Args:
        release: what is measured.
        ledger: leads to the sources; None measures the outputs alone.
        rows_id: of the plan's rows in the ledger.
        run: the release's run.json.
        config: the settings of the run, with the operator's sources, storage and engine.
        scorer: the second detector; None skips what needs one.
        features: addresses of feature networks, or of their declarations.
        label_column: column of the manifest with the class of an image, or IDS; None for none.
        seed: of all samples.
    """

    release: Release
    ledger: Ledger | None
    rows_id: str
    run: RunJson
    config: JobConfig
    scorer: DetectorConfig | None = None
    features: tuple[str, ...] = ()
    label_column: str | None = None
    seed: int = 0

    @property
    def storage(self) -> Storage:
        """Reads sources, models, release and ledger."""
        return self.release.storage

    def planned_rows(self) -> PlannedRows | None:
        """Return a reader of the run's rows; None without a ledger."""
        return None if self.ledger is None else PlannedRows(self.ledger, self.rows_id, self.run.rows)

    def allowed(self) -> AllowedSources:
        """Return which sources may be read: those that the run was allowed to read, or that the operator names now."""
        return AllowedSources.of(self.config.sources, self.config.manifest)


def open_release_job(
    release: Release,
    ledger: Ledger | None,
    operator: JobConfig,
    *,
    sources: Mapping[str, Any],
    scorer: DetectorConfig | None = None,
    features: tuple[str, ...] = (),
    label_column: str | None = None,
    seed: int = 0,
) -> ReleaseJob:
    """Open a finished release for its evaluation.

    Args:
        release: what is measured.
        ledger: of the same run; None measures the outputs alone.
        operator: gives `engine`, `models` and `storage`, which a release does not publish.
        sources: `manifest` and `allow` where the operator gives them; else those of the run count.
        scorer: the second detector.
        features: addresses of feature networks.
        label_column: column of the manifest with the class of an image.
        seed: of all samples.

    Raises:
        ConfigError: there is no release, it is not finished, the ledger is that of another run, or its rows have no such column.
        IntegrityError: run.json or the plan is damaged.
    """
    run = release.read_run_json()
    if not run.is_finished:
        raise ConfigError(
            f"{release.uri}: this run is not finished, so there is nothing to measure yet; run the same job again to "
            "resume it (`anon-batch status` shows its progress)"
        )
    plan = None if ledger is None else ledger.plan()
    if ledger is not None and (plan is None or plan.run_id != run.run_id):
        found = "no plan" if plan is None else f"run {plan.run_id}"
        raise ConfigError(
            f"ledger {ledger.uri}: {found}, the release is of run {run.run_id}; name its ledger with --ledger"
        )
    known = {**({} if plan is None else plan.sources), **sources}
    settings = current_run(run, release.versions).config
    data = {
        "name": run.name or "release",
        **{name: settings[name] for name in OUTPUT_SECTIONS if name in settings and name not in ("sample", "publish")},
        **{name: getattr(operator, name) for name in _OPERATOR_SECTIONS},
        # On CPUs alone, so that the figures are the same everywhere and no cluster needs a GPU for them.
        "engine": operator.engine.model_copy(update={"num_gpus": 0.0}),
        "manifest": known.get("manifest") or _NO_MANIFEST,
        "sources": {"allow": known.get("allow")},
        "output": release.uri,
    }
    config = validate(JobConfig, data, layout.RUN)
    rows_id = "" if plan is None else plan.rows_id
    job = ReleaseJob(release, ledger, rows_id, run, config, scorer, features, label_column, seed)
    if label_column is not None:
        _check_column(job, label_column)
    return job


def _check_column(job: ReleaseJob, name: str) -> None:
    rows = job.planned_rows()
    if rows is None:
        raise ConfigError("--label-column: classes are in the ledger; name it with --ledger")
    if name != IDS and name not in rows.extra_schema.names:
        raise ConfigError(
            f"--label-column {name}: the run's rows have no such column; they have {', '.join([IDS, *rows.extra_schema.names])}"
        )
