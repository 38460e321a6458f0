"""Draws the report: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, StrictUndefined

from anon_batch.formats import layout
from anon_batch.release.report.figures import Figures, Release
from anon_batch.release.verdict import Verdict
from anon_batch.storage import Storage, join
from anon_batch.units import format_bytes, format_count, format_duration, format_share

_TEMPLATE = "page.html"


def render(release: Release, figures: Figures, verdict: Verdict | None) -> str:
    """The page. The same release and verdict give the same bytes.

    Args:
        release: supplies name, run id, version and times.
        figures: what is computed of it.
        verdict: of the last check; None when there was none.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        count=format_count, percent=format_share, bytes=format_bytes, span=format_duration, rate=_rate, share=_share
    )
    text = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    record = release.record
    return environment.from_string(text).render(
        name=record["config"].get("name", ""),
        run_id=release.run_id,
        tool_version=record.get("tool_version", "unknown"),
        created_at=record["created_at"],
        finished_at=record.get("finished_at", "unknown"),
        f=figures,
        verdict=verdict,
    )


def write_report(storage: Storage, release: Release, figures: Figures, verdict: Verdict | None) -> str:
    """Puts the page below the release; returns its address.

    Raises:
        StorageError: it cannot be written.
    """
    uri = join(release.output, layout.REPORT)
    storage.put(uri, render(release, figures, verdict).encode("utf-8", errors="backslashreplace"))
    return uri


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
