"""Render the report: one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, StrictUndefined

from anon_batch.formats import layout
from anon_batch.release.report.figures import Figures
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.verdict import Verdict
from anon_batch.units import format_bytes, format_count, format_duration, format_share

_TEMPLATE = "page.html"


def render(finished: FinishedRelease, figures: Figures, verdict: Verdict | None) -> str:
    """Return the page as HTML; the same arguments give the same bytes.

    Args:
        finished: supplies name, run id, version and times.
        figures: what was computed from it.
        verdict: of the last check; None if there was none.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        count=format_count, percent=format_share, bytes=format_bytes, span=format_duration, rate=_rate, share=_share
    )
    text = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    record = finished.run
    return environment.from_string(text).render(
        name=record.name,
        run_id=record.run_id,
        tool_version=record.tool_version,
        created_at=record.created_at,
        finished_at=record.finished_at or "unknown",
        f=figures,
        gates=finished.gates,
        verdict=verdict,
    )


def write_report(finished: FinishedRelease, figures: Figures, verdict: Verdict | None) -> str:
    """Write the page into the release; return its address.

    Raises:
        StorageError: it cannot be written.
    """
    page = render(finished, figures, verdict).encode("utf-8", errors="backslashreplace")
    finished.release.put(layout.REPORT, page)
    return finished.release.address(layout.REPORT)


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
