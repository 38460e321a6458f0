"""Compute the report of a finished release from its public JSON files, so that its cost does not depend on the number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.release.report.counted import counted
from anon_batch.release.report.document import Report
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.measures import Measures, gather
from anon_batch.release.report.questions import answer_all
from anon_batch.release.report.sections.contents import (
    models_section,
    owner_section,
    published_section,
    settings_section,
)
from anon_batch.release.report.sections.evidence import evidence_sections
from anon_batch.release.report.sections.found import found_section
from anon_batch.release.report.sections.limits import limits_section
from anon_batch.release.report.sections.rows import rows_section
from anon_batch.release.report.sections.time import time_section
from anon_batch.release.report.verdicts import judge_gates, judge_whole
from anon_batch.release.verdict import Verdict
from anon_batch.release.words.statement import statement_of
from anon_batch.stats import time_shares


def compute_report(finished: FinishedRelease, verdict: Verdict | None) -> Report:
    """Compute what the page and report.json say; the same arguments give an equal report.

    Args:
        finished: with what the run and later measurements left.
        verdict: of the last check of this state of the release; None if there was none.

    Raises:
        IntegrityError: stats.json or run.json is not what this package writes.
    """
    try:
        return _report(finished, finished.stats.summary, verdict)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        uri, detail = finished.release.address(layout.STATS), f"{type(exc).__name__}: {exc}"
        raise IntegrityError(f"{uri}: not statistics of this package ({detail})") from None


def _report(finished: FinishedRelease, summary: Mapping[str, Any], verdict: Verdict | None) -> Report:
    record, gates = finished.run, judge_gates(finished.gates)
    measures = measures_of(finished)
    statement = statement_of(finished)
    return Report(
        name=record.name,
        run_id=record.run_id,
        tool_version=record.tool_version,
        created_at=record.created_at,
        finished_at=record.finished_at or "unknown",
        headline=judge_whole(gates, verdict),
        gates=gates,
        treatment=statement.treatment,
        linkage={"holder": statement.holder, "recipient": statement.recipient},
        statement=statement.aspects,
        answers=answer_all(measures, gates),
        sections=(
            *evidence_sections(measures, summary),
            rows_section(summary),
            found_section(summary),
            time_section(record, summary, time_shares(summary), finished.timeline),
            models_section(record, measures.models),
            published_section(record.columns),
            settings_section(record),
            owner_section(record),
            limits_section(measures),
        ),
    )


def measures_of(finished: FinishedRelease) -> Measures:
    """Return what was measured about a finished release, by its run and after it."""
    figures, tables = counted(finished.stats.summary)
    return gather(figures, tables, {}, finished.evidence)
