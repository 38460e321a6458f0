"""Gates: a pure function from what is known about a release and the limits of its job to verdicts.

A figure that is only estimated counts by the bound of its interval that is worse for the release. A figure that was not measured
exceeds its gate. Capture-recapture figures feed no gate, because they only say how much is missed at least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from anon_batch.config import GatesConfig
from anon_batch.formats import layout
from anon_batch.formats.gates_json import GateKind, GateResult, Gates
from anon_batch.formats.stats_json import StatsJson
from anon_batch.formats.tombstone import ERASED
from anon_batch.label_words import noun_of
from anon_batch.pipeline.kept_evidence import KeptEvidence
from anon_batch.stats.figure import Figure
from anon_batch.stats.missed import LABEL, MIN_SIDE_PX
from anon_batch.stats.residual import residual_figures
from anon_batch.units import format_share

NOT_MEASURED = "not measured"
NO_EVIDENCE = KeptEvidence()


class _Measured(NamedTuple):
    """What a gate compares with its limit: a value, or why there is none; and the file that it is from."""

    value: float | None
    note: str
    evidence: str = ""


def evaluate_gates(stats: StatsJson, limits: GatesConfig, evidence: KeptEvidence = NO_EVIDENCE) -> Gates:
    """Evaluate all gates that have a limit.

    Args:
        stats: merged statistics of the whole release.
        limits: the section `gates` of the job.
        evidence: what was measured after the run.

    Returns:
        One result for each limit that is not null, in the order of `GATES`.
    """
    results = []
    for name, gate in GATES.items():
        limit: float | None = getattr(limits, name)
        if limit is None:
            continue
        value, note, source = gate.measure(stats, evidence)
        passed = value is not None and (value <= limit if gate.kind == "at_most" else value >= limit)
        results.append(GateResult(name, gate.kind, limit, value, passed, note, source))
    return Gates(tuple(results))


def common_failure(stats: StatsJson) -> tuple[str, str] | None:
    """Return (status, reason) if no row was published and all rows share one reason, else None."""
    for status in ("withheld", "failed"):
        reasons: Mapping[str, Any] = stats.summary["reasons"].get(status, {})
        if stats.rows and stats.statuses.get(status) == stats.rows and list(reasons.values()) == [stats.rows]:
            return status, next(iter(reasons))
    return None


def _withheld(stats: StatsJson, _: KeptEvidence) -> _Measured:
    erased = _erased(stats)
    return _share(stats.statuses.get("withheld", 0) - erased, stats.rows - erased, "rows")


def _failed(stats: StatsJson, _: KeptEvidence) -> _Measured:
    return _share(stats.statuses.get("failed", 0), stats.rows - _erased(stats), "rows")


def _erased(stats: StatsJson) -> int:
    """Return the number of erased rows, which say nothing about how well the run worked."""
    return int(stats.summary["reasons"].get("withheld", {}).get(ERASED, 0))


def _residual(stats: StatsJson, _: KeptEvidence) -> _Measured:
    return _worse(residual_figures(stats.summary)["residual.share"], "residual.share", "high", layout.STATS)


def _missed(stats: StatsJson, evidence: KeptEvidence) -> _Measured:
    """Return the worse of ground truth and human review, where both exist."""
    labelled = _uncovered(stats)
    reviewed = _bound(evidence, layout.REVIEW, "review.missed", "high")
    known = [measured for measured in (labelled, reviewed) if measured.value is not None]
    if not known:
        return _missing(f"{_why(labelled)}; without it, {_why(reviewed)}")
    return max(known, key=lambda measured: measured.value or 0.0)


def _recall(stats: StatsJson, _: KeptEvidence) -> _Measured:
    detection = stats.summary["detection"]
    if detection is None:
        return _missing("the manifest has no ground truth")
    bands = {label: own["all"] for label, own in detection["labels"].items() if own["all"]["regions"]}
    if not bands:
        return _missing("there are no ground-truth regions")
    label = min(bands, key=lambda name: (bands[name]["recall"], name))
    worst = f" of the worst label, `{label}`" if len(bands) > 1 else ""
    return _share(bands[label]["true_positives"], bands[label]["regions"], f"ground-truth regions{worst}")


def _reidentification(_: StatsJson, evidence: KeptEvidence) -> _Measured:
    return _bound(evidence, layout.EVALUATION, "reidentification.rank_1", "high")


def _ap_kept(_: StatsJson, evidence: KeptEvidence) -> _Measured:
    return _bound(evidence, layout.EVALUATION, "utility.ap_kept", "low")


class _Gate(NamedTuple):
    kind: GateKind
    measure: Callable[[StatsJson, KeptEvidence], _Measured]


GATES: Mapping[str, _Gate] = {
    "withheld": _Gate("at_most", _withheld),
    "failed": _Gate("at_most", _failed),
    "residual": _Gate("at_most", _residual),
    "missed": _Gate("at_most", _missed),
    "recall": _Gate("at_least", _recall),
    "reidentification": _Gate("at_most", _reidentification),
    "ap_kept": _Gate("at_least", _ap_kept),
}


def _uncovered(stats: StatsJson) -> _Measured:
    """Return the upper bound of the labelled faces that the release still shows, so that few labels do not pass by luck.

    Where other things are labelled too, the worst label counts, so that many faces do not hide number plates.
    """
    missed = stats.summary["missed"]
    if missed is None:
        return _missing("the manifest has no ground truth")
    labels = missed["groups"].get(LABEL, {})
    if not labels:
        return _missing(f"no published image has a labelled face or other region from {MIN_SIDE_PX} px")
    label = max(labels, key=lambda name: (labels[name]["high"], name))
    own, of = labels[label], f"labelled {noun_of(label)} from {MIN_SIDE_PX} px are uncovered"
    estimate = f"{own['uncovered']:,} of {own['faces']:,} {of}"
    return _Measured(own["high"], f"upper bound; {estimate}", layout.STATS)


def _bound(evidence: KeptEvidence, file: str, name: str, side: str) -> _Measured:
    return _worse(evidence.figure(file, name), name, side, file)


def _worse(figure: Figure, name: str, side: str, file: str) -> _Measured:
    """Return one bound of a figure's interval, because a gate never trusts the estimate alone; nor a bound that is better."""
    if figure.value is None:
        return _missing(figure.note)
    bound = getattr(figure, side)
    if bound is None:
        return _missing(f"{name} has no {'upper' if side == 'high' else 'lower'} bound: {figure.note or 'too few'}")
    of = "" if figure.n is None else f" of {figure.n:,} {figure.unit}"
    word = "upper" if side == "high" else "lower"
    worse = max(bound, figure.value) if side == "high" else min(bound, figure.value)
    return _Measured(float(worse), f"{word} bound; estimate {format_share(figure.value)}{of}", file)


def _share(part: int, whole: int, unit: str) -> _Measured:
    if not whole:
        return _missing(f"there are no {unit}")
    return _Measured(part / whole, f"{part:,} of {whole:,} {unit}", layout.STATS)


def _missing(why: str) -> _Measured:
    return _Measured(None, f"{NOT_MEASURED}: {why.removeprefix(f'{NOT_MEASURED}: ')}")


def _why(measured: _Measured) -> str:
    return measured.note.removeprefix(f"{NOT_MEASURED}: ")
