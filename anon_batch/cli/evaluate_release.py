"""`anon-batch evaluate OUTPUT`: measure a finished release."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.evidence_table import show_evidence
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.options import ledger_of, storage_of
from anon_batch.cli.progress import ProgressBar
from anon_batch.cli.signed import warn_if_signed
from anon_batch.config import DetectorConfig, JobConfig, SourcesConfig, load_job
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.formats import layout
from anon_batch.storage import absolute

if TYPE_CHECKING:
    from anon_batch.evaluate.attacks.audit import AttackSettings
    from anon_batch.evaluate.release.job import ReleaseJob
    from anon_batch.formats.release import Release

DEFAULT_SAMPLE = 5_000
_OPERATOR_KEYS = ("engine", "models", "sources", "storage", "manifest")


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """What the command line says about the evaluation of a release.

    Args:
        output: address of the release.
        ledger: its address; None means beside the release.
        no_ledger: measure the outputs alone.
        sample: number of rows; None for the default, or for none where `share` is given.
        share: of all rows.
        seed: of the sample.
        scorer: the second detector; None skips what needs one.
        job: job file that gives access, sources and engine.
        keys: of `--set`.
        address, workers: `engine.address` and `engine.workers`.
        features, label_column: see `ReleaseJob`.
        pairs, embedders, attacks: of the attacks on the release's method, see `audit_release`.
        as_json: print evaluation.json.
    """

    output: str
    ledger: str | None
    no_ledger: bool
    sample: int | None
    share: float | None
    seed: int
    scorer: DetectorConfig | None
    job: Path | None
    keys: dict[str, Any]
    address: str | None
    workers: int | None
    features: tuple[str, ...]
    label_column: str | None
    pairs: str | None
    embedders: tuple[str, ...]
    attacks: AttackSettings
    as_json: bool


def is_release(address: str, job: Path | None) -> bool:
    """Return whether a run has written to this address."""
    from anon_batch.formats.release import Release

    if address.lower().endswith((".parquet", ".csv")):
        return False
    return Release(storage_of(job), address).exists()


def evaluate_release(options: ReleaseOptions) -> None:
    """Measure a finished release, write evaluation.json and gates.json, and print both.

    Raises:
        AnonBatchError: see `measure_release`.
        typer.Exit: a gate is exceeded.
    """
    from anon_batch.cluster.evaluation import Selection, measure_release
    from anon_batch.evaluate.attacks.evidence import audit_release
    from anon_batch.evaluate.release.evidence import to_evidence
    from anon_batch.formats.release import Release
    from anon_batch.pipeline.refresh_gates import refresh_gates

    if options.sample is not None and options.share is not None:
        raise ConfigError("--sample and --share: give one of them; --share 1 measures every row")
    limit = options.sample or (DEFAULT_SAMPLE if options.share is None else None)
    release = Release(storage_of(options.job), options.output)
    job = _open(release, options)
    stats = release.read_stats()
    audit = audit_release(
        job.config.model_copy(update={"sources": SourcesConfig()}),  # because the pairs are the operator's own
        job.storage,
        pairs=options.pairs,
        embedders=options.embedders,
        settings=options.attacks,
        seed=options.seed,
        on_message=lambda text: None if options.as_json else err.print(text, markup=False),
    )
    with ProgressBar("rows", quiet=options.as_json) as bar:
        progress = _Progress(bar)
        measured = measure_release(
            job, Selection(limit, options.share, options.seed), progress.started, progress.done, bar.note
        )
    evidence = to_evidence(job, stats, measured.drawn, measured.state, measured.models, audit)
    release.write_evidence(layout.EVALUATION, evidence)
    gates = refresh_gates(release)
    warn_if_signed(release, layout.EVALUATION)
    if options.as_json:
        print_json({"evaluation": json.loads(evidence.to_json()), **gates_for_machines(gates)})
    else:
        show_evidence(evidence)
        show_gates(gates)
        out.print(f"evidence {release.address(layout.EVALUATION)}", markup=False)
    if not gates.passed:
        raise typer.Exit(int(ExitCode.GATE_EXCEEDED))


class _Progress:
    def __init__(self, bar: ProgressBar) -> None:
        self._bar, self._rows = bar, 0

    def started(self, rows: int) -> None:
        self._bar.start(rows, 0)
        self._bar.note(f"measuring {rows:,} rows")

    def done(self, rows: int) -> None:
        self._rows += rows
        self._bar.update(self._rows)


def _open(release: Release, options: ReleaseOptions) -> ReleaseJob:
    from anon_batch.evaluate.release.job import open_release_job
    from anon_batch.evaluate.setup import check_scorer

    operator = _operator(options, release.uri)
    sources: dict[str, Any] = {}
    if options.job is not None or "manifest" in options.keys:
        sources["manifest"] = absolute(operator.manifest)
    if options.job is not None or any(key.startswith("sources.") for key in options.keys):
        sources["allow"] = operator.sources.allow
    ledger = ledger_of(release, options.ledger, no_ledger=options.no_ledger)
    job = open_release_job(
        release,
        ledger,
        operator,
        sources=sources,
        scorer=options.scorer,
        features=options.features,
        label_column=options.label_column,
        seed=options.seed,
    )
    if job.scorer is not None:
        check_scorer(job.scorer, job.config)
    return job


def _operator(options: ReleaseOptions, output: str) -> JobConfig:
    """Return the job whose `engine`, `models`, `sources` and `storage` count."""
    if foreign := [key for key in options.keys if key.partition(".")[0] not in _OPERATOR_KEYS]:
        raise ConfigError(
            f"--set {foreign[0]}: a release is measured with the settings that it was made with; only keys of "
            f"{', '.join(_OPERATOR_KEYS[:-1])} can be set"
        )
    flags = {"engine.address": options.address, "engine.workers": options.workers}
    given = {**{key: value for key, value in flags.items() if value is not None}, **options.keys}
    base = {"manifest": "none"} if options.job is None else {}
    return load_job(options.job, {**base, **given, "output": output})
