"""What the run counted, on the report."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_fixtures import job, release, write_dataset
from report_pages import Page, html_of, text_of

from anon_batch.release.report.counted import recall_by_size
from anon_batch.stats.figure import Figure


def test_recall_by_size_is_a_table() -> None:
    own = Figure(0.5, 0.4, 0.6, 90, "planted faces")
    figures = {"residual.recall": own, "residual.recall.12_24": own, "residual.share": own}
    assert recall_by_size(figures)["residual.recall"].rows == (("12 to 24 px", own),)
    assert recall_by_size({"residual.share": own}) == {}


def test_a_residual_check_is_shown_with_its_recall(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    output = release(job(str(tmp_path))).release.uri
    assert "the job has no residual check" in Page(html_of(output)).text
    path = Path(output, "stats.json")
    counts = {"checked": 100, "found": 2, "passed": 98, "failed": 2}
    planted = {"planted_12_24": 30, "planted_found_12_24": 20, "planted_24_48": 30, "planted_found_24_48": 28}
    stats = json.loads(path.read_text())
    path.write_text(json.dumps(stats | {"checks": {"residual": {**counts, **planted}}}))
    page = Page(html_of(output))
    assert "The residual check estimates that a face is left in" in text_of(page.of("missed"))
    assert "12 to 24 px" in text_of(page.of("plot-residual-recall"))
