"""evaluation.json from the merged states of a release."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from anon_batch import __version__
from anon_batch.evaluate.attacks.evidence import Parts
from anon_batch.evaluate.release.draw import Drawn
from anon_batch.evaluate.release.findings import Findings
from anon_batch.evaluate.release.job import IDS, ReleaseJob
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.utility.findings import utility_findings
from anon_batch.formats.evidence_json import Curve, Evidence, Sample, Table
from anon_batch.formats.run_json import now
from anon_batch.formats.stats_json import StatsJson
from anon_batch.reasons import REASONS
from anon_batch.recognition.network_file import NetworkFile, read_network_file
from anon_batch.stats.figure import Figure
from anon_batch.units import format_share

MAX_UNREAD = 0.05  # share of the sampled rows above which no interval of a figure that needs originals is claimed
_NO_SCORER = "--scorer none: a second detector measures it"
_NO_LEDGER = "--no-ledger: it needs the originals, which the ledger leads to"
_NEED_ORIGINALS = ("utility.", "naturalness.")


def to_evidence(
    job: ReleaseJob,
    stats: StatsJson,
    drawn: Drawn,
    state: ReleaseState,
    models: Iterable[str],
    audit: Parts | None = None,
) -> Evidence:
    """Return what is written to evaluation.json.

    Args:
        job: what was measured.
        stats: of the release, which the measures hold for.
        drawn: the sampled rows.
        state: of all of them.
        models: `name@sha256` of the networks that measured.
        audit: what attackers find out about the release's method, on other images.
    """
    figures: dict[str, Figure] = {}
    tables: dict[str, Table] = {"sample.rows": _rows_table(state)}
    curves: dict[str, Curve] = {}
    used = [*models]
    for findings in _of_state(job, state):
        figures.update({name: _with_lost(name, own, state) for name, own in findings.figures.items()})
        tables.update(findings.tables)
    if audit is not None:
        figures.update(audit.figures)
        tables.update(audit.tables)
        curves.update(audit.curves)
        used += audit.models
    return Evidence(
        run_id=job.run.run_id,
        created_at=now(),
        tool_version=__version__,
        sample=Sample(drawn.rows, job.run.rows, job.seed),
        stats_sha256=stats.sha256,
        figures=figures,
        tables=tables,
        curves=curves,
        models=tuple(dict.fromkeys(used)),
        skipped={} if audit is None else dict(audit.skipped),
    )


def _of_state(job: ReleaseJob, state: ReleaseState) -> Iterator[Findings]:
    if job.scorer is None:
        yield _missing(_NO_SCORER, "residual.after", "utility.faces_kept")
    else:
        yield _with_note(state.residual.findings(), "residual.after", _repeated_check(job))
        yield state.precision.findings(state.utility.detection)
    if job.ledger is None:
        yield _missing(_NO_LEDGER, "utility.ap_kept", "utility.faces_kept", "utility.canary", "naturalness.probe")
        return
    published = (IDS, *job.run.columns.get("published", []))
    networks = tuple(read_network_file(job.storage, own, NetworkFile).title for own in job.features)
    utility = utility_findings(state.utility, networks, seed=job.seed, named=job.label_column in published)
    if job.scorer is None:
        utility.figures["utility.ap_kept"] = Figure.missing(_NO_SCORER)
    yield Findings(utility.figures, utility.tables)


def _repeated_check(job: ReleaseJob) -> str:
    """Return what a reader must know where the run's own check may have looked with the same detector; "" elsewhere."""
    check = job.config.checks.get("residual")
    if check is None or job.scorer is None:
        return ""
    used = [own if isinstance(own, str) else own.get("name") for own in check.get("detectors") or [job.scorer.name]]
    if job.scorer.name not in used:
        return ""
    return (
        "the run's own residual check looks with this detector, so that this mostly repeats it; choose another --scorer"
    )


def _with_note(findings: Findings, name: str, note: str) -> Findings:
    figure = findings.figures[name]
    if not note or figure.value is None:
        return findings
    noted = dataclasses.replace(figure, note=f"{figure.note}; {note}")
    return dataclasses.replace(findings, figures={**findings.figures, name: noted})


def _missing(why: str, *names: str) -> Findings:
    return Findings({name: Figure.missing(why) for name in names})


def _with_lost(name: str, figure: Figure, state: ReleaseState) -> Figure:
    """Say how many sampled rows are not in a figure; where they are many, drop the interval, because they are no random ones."""
    lost = dict(state.unmeasured)
    if name.startswith(_NEED_ORIGINALS):
        lost.update(state.unread)
    share = sum(lost.values()) / state.rows if state.rows else 0.0
    if figure.value is None or not lost:
        return figure
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(lost.items()))
    note = f"{format_share(share)} of the sampled rows could not be measured ({reasons})"
    if share <= MAX_UNREAD:
        return dataclasses.replace(figure, note="; ".join(filter(None, (figure.note, note))))
    return dataclasses.replace(figure, low=None, high=None, note=f"{note}: too many for an interval; {figure.note}")


def _rows_table(state: ReleaseState) -> Table:
    rows = [(f"{status} in the release", n) for status, n in sorted(state.statuses.items())]
    rows += [(f"original not read again: {_meaning(reason)}", n) for reason, n in sorted(state.unread.items())]
    rows += [(f"not measured: {_meaning(reason)}", n) for reason, n in sorted(state.unmeasured.items())]
    return Table("What became of the sampled rows.", ("rows", "number"), tuple(rows))


def _meaning(reason: str) -> str:
    return f"{reason} ({REASONS[reason].meaning})" if reason in REASONS else reason
