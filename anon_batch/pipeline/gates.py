"""Gates: a pure function from the merged statistics and the limits of a job to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from anon_batch.config import GatesConfig
from anon_batch.formats.gates_json import GateKind, GateResult, Gates
from anon_batch.formats.stats_json import StatsJson

NOT_MEASURED = "not measured"
KINDS: dict[str, GateKind] = {
    "withheld": "at_most",
    "failed": "at_most",
    "residual": "at_most",
    "missed": "at_most",
    "recall": "at_least",
    "ap_kept": "at_least",
}


class _Figure(NamedTuple):
    value: float | None
    note: str


def evaluate_gates(stats: StatsJson, limits: GatesConfig) -> Gates:
    """Evaluate all gates that have a limit.

    Args:
        stats: merged statistics of the whole release.
        limits: the section `gates` of the job.

    Returns:
        One result for each limit that is not null, in the order of the configuration. A figure that was not measured exceeds
        its gate.
    """
    results = []
    for name, kind in KINDS.items():
        limit: float | None = getattr(limits, name)
        if limit is None:
            continue
        value, note = _measure(name, stats)
        passed = value is not None and (value <= limit if kind == "at_most" else value >= limit)
        results.append(GateResult(name, kind, limit, value, passed, note))
    return Gates(tuple(results))


def common_failure(stats: StatsJson) -> tuple[str, str] | None:
    """Return (status, reason) if no row was published and all rows share one reason, else None."""
    for status in ("withheld", "failed"):
        reasons: Mapping[str, Any] = stats.summary["reasons"].get(status, {})
        if stats.rows and stats.statuses.get(status) == stats.rows and list(reasons.values()) == [stats.rows]:
            return status, next(iter(reasons))
    return None


def _measure(name: str, stats: StatsJson) -> _Figure:
    if name in ("withheld", "failed"):
        return _share(stats.statuses.get(name, 0), stats.rows, "rows")
    if name in ("missed", "recall"):
        detection = stats.summary["detection"]
        if detection is None:
            return _Figure(None, f"{NOT_MEASURED}: the manifest has no ground truth")
        band = detection["bands"]["all"]
        return _share(band["missed" if name == "missed" else "true_positives"], band["regions"], "ground-truth regions")
    if name == "residual":
        outcomes = stats.summary["checks"].get("residual")
        if outcomes is None:
            return _Figure(None, f"{NOT_MEASURED}: the job has no residual check")
        failed = outcomes.get("failed", 0)
        return _share(failed, failed + outcomes.get("passed", 0), "checked images")
    return _Figure(None, f"{NOT_MEASURED}: only `anon-batch evaluate` measures it")


def _share(part: int, whole: int, unit: str) -> _Figure:
    if not whole:
        return _Figure(None, f"{NOT_MEASURED}: there are no {unit}")
    return _Figure(part / whole, f"{part:,} of {whole:,} {unit}")
