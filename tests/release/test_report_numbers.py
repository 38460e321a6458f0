"""Every number that the page shows is in report.json, not rounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import job, release, write_dataset
from report_evidence import add_all
from report_pages import NOT_BREAKING, SVG, Page, html_of, text_of

from anon_batch.formats import layout
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.pipeline.run import Run
from anon_batch.release.report.words import format_limit, format_time, format_value

UNITS = ("share", "points", "count", "number", "px", "seconds", "bytes")
NUMBER = re.compile(r"(?<![\w.])[−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def numbers_of(text: str) -> set[str]:
    return {found.rstrip(",") for found in NUMBER.findall(text.replace(NOT_BREAKING, " "))}


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, own in value.items():
            yield key
            yield from leaves(own)
    elif isinstance(value, list):
        for own in value:
            yield from leaves(own)
    else:
        yield value


def shown_numbers(content: Any) -> set[str]:
    """Return the numbers that the leaves of a JSON value are shown as."""
    known: set[str] = set()
    for leaf in leaves(content):
        if isinstance(leaf, str):
            known |= numbers_of(leaf) | numbers_of(format_time(leaf))
        elif isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
            known |= {number for unit in UNITS for number in numbers_of(format_value(leaf, unit))}
            known |= numbers_of(format_limit(leaf))
    return known


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(12)])
    (tmp_path / "src" / "3.png").write_bytes(b"not an image")
    return release(job(str(tmp_path), name="my-release", anonymize__face__method="pixelate"))


@pytest.mark.parametrize("measured", [False, True])
def test_every_number_of_the_page_is_in_the_json(run: Run, measured: bool) -> None:
    if measured:
        add_all(run.release)
    run.release.write_gates(Gates((GateResult("missed", "at_most", 0.0005, 0.01234, False, "123 of 9,876 regions"),)))
    page = Page(html_of(run.release.uri))
    content = json.loads(run.release.read(layout.REPORT_JSON))
    for axis in [own for own in page.root.iter(f"{SVG}g") if own.get("class") == "axis"]:
        axis.clear()  # because ticks are no figures
    on_page = numbers_of(text_of(page.root.find("body")))  # type: ignore[arg-type]
    assert len(on_page) > (150 if measured else 60)
    words = {"50", "1", "95", "0.5", "16", "32", "96"}  # in sentences of the template and headings of columns
    assert on_page - shown_numbers(content) <= words


def test_json_holds_the_figures_in_full(run: Run) -> None:
    add_all(run.release)
    html_of(run.release.uri)
    content = json.loads(run.release.read(layout.REPORT_JSON))
    assert content["version"] == 1
    assert content["run_id"] == run.plan.run_id
    figures = {own["name"]: own for answer in content["questions"] for own in answer["figures"]}
    rank = figures["reidentification.rank_1"]
    assert (rank["value"], rank["low"], rank["n"]) == (0.062, pytest.approx(0.024), 102)
    plots = {block["name"]: block for own in content["sections"] for block in own["blocks"] if block["block"] == "plot"}
    assert len(plots["plot-reidentification-det"]["rows"]) == plots["plot-reidentification-det"]["rows_count"] == 123
    assert [gate["name"] for gate in content["gates"]] == ["withheld", "failed"]


def test_a_number_that_is_not_in_the_json_would_be_found(run: Run) -> None:
    html_of(run.release.uri)
    content = json.loads(run.release.read(layout.REPORT_JSON))
    assert not {"98,765", "12.34"} & shown_numbers(content)
