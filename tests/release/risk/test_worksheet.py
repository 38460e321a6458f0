"""The risk worksheet: no cell is empty, every number is that of its file, and nothing is claimed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from importlib import resources

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_fixtures import FACES, job, release, write_dataset
from report_evidence import add_all
from typer.testing import CliRunner

from anon_batch.claims import promises_in
from anon_batch.cli.app import app
from anon_batch.config import ComplianceConfig
from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.release.report.finished import read_finished
from anon_batch.release.risk.entries import from_figure, share
from anon_batch.release.risk.framework import CLAUSES, CRITERIA
from anon_batch.release.risk.page import render_risk
from anon_batch.release.risk.worksheet import fill_worksheet
from anon_batch.stats.figure import Figure
from anon_batch.storage import Storage

IDS = [f"{n}.png" for n in range(6)]
SCHEMA = json.loads(resources.files("anon_batch.release.risk").joinpath("risk.schema.json").read_text())
ENTRY = jsonschema.Draft202012Validator(SCHEMA["$defs"]["entry"])
STATED = {name: f"words about {name}" for name in ComplianceConfig.model_fields} | {"retention_until": "9999-12-31"}


def _truth(index: int) -> list[dict[str, object]]:
    return [{"x1": 4.0, "y1": 4.0, "x2": 22.0, "y2": 20.0, "ignore": False}] if index % 2 else []


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("risk")
    write_dataset(
        str(folder),
        IDS,
        faces=pa.array([_truth(n) for n in range(6)], FACES),
        extra={"label": pa.array([1] * 6), "md5": pa.array(["0" * 32] * 6)},
    )
    release(job(str(folder), "bare"))
    release(job(str(folder), "full", **{f"compliance__{name}": text for name, text in STATED.items()}))
    add_all(Release(Storage(), str(folder / "full")))
    return folder


@pytest.fixture(params=["bare", "full"])
def finished(base, request):
    return read_finished(Release(Storage(), str(base / request.param)))


def test_it_is_as_its_schema_says(finished):
    jsonschema.validate(json.loads(fill_worksheet(finished).to_json()), SCHEMA)


def test_every_risk_has_one_cell_in_every_clause_and_no_cell_is_empty(finished):
    cells = fill_worksheet(finished).cells
    covered = [(cell.clause, criterion) for cell in cells for criterion in cell.criteria]
    assert sorted(covered) == sorted((clause.number, own.name) for clause in CLAUSES for own in CRITERIA)
    for cell in cells:
        assert cell.entries
        for entry in cell.entries:
            assert entry.is_answered != bool(entry.needs), entry
            assert (
                not entry.is_answered
                or entry.text
                or (entry.value is not None and entry.n is not None and entry.command)
            )


def test_the_schema_refuses_an_empty_cell_and_an_answer_that_is_none(base):
    content = json.loads(fill_worksheet(read_finished(Release(Storage(), str(base / "full")))).to_json())
    entries = [(cell, at) for cell in content["cells"] for at in range(len(cell["entries"]))]
    for change in ({"entries": []}, {"criteria": []}):
        broken = {**content, "cells": [{**content["cells"][0], **change}]}
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(broken)
    for cell, at in entries:
        needed = [key for key in ("value", "n", "text", "needs", "what") if key in cell["entries"][at]]
        for key in needed:
            entry = {name: own for name, own in cell["entries"][at].items() if name != key}
            broken = {**content, "cells": [{**cell, "entries": [entry]}]}
            assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(broken), (key, entry)


def test_figures_are_those_of_evidence_statistics_and_gates(base):
    place = Release(Storage(), str(base / "full"))
    entries = [entry for cell in fill_worksheet(read_finished(place)).cells for entry in cell.entries]
    stats = place.read_stats().summary
    files = {key: place.read_evidence(key) for key in (layout.EVALUATION, layout.REVIEW)}
    seen = set()
    for entry in entries:
        file, _, name = entry.source.partition(": ")
        if entry.state != "measured" or file not in files:
            continue
        if name.startswith("table"):
            continue
        own = files[file].figures[name]
        shown = (entry.value, entry.low, entry.high, entry.n, entry.unit)
        assert shown == (own.value, own.low, own.high, own.n, own.unit)
        assert ("not on those of the release" in entry.note) == name.startswith("reidentification")
        seen.add(name)
    assert {"reidentification.rank_1", "reidentification.whole_image.rank_1", "review.missed"} <= seen
    by_source = {entry.source: entry for entry in entries if entry.state == "counted"}
    assert by_source["stats.json: detections"].value == stats["detections"]
    for status, rows in stats["statuses"].items():
        entry = by_source[f"stats.json: statuses.{status}"]
        assert (entry.value, entry.n) == (rows / stats["rows"], stats["rows"])
    assert by_source["stats.json: methods.solid"].value == 1.0
    assert by_source["run.json: columns.withheld"].note == "md5"


def test_the_owners_words_stand_in_it_and_what_is_not_stated_is_named(base):
    full, bare = (
        render_risk(fill_worksheet(read_finished(Release(Storage(), str(base / own))))) for own in ("full", "bare")
    )
    for name in ("controller", "contact", "legal_basis", "art9_basis", "purpose", "dpia_reference", "retention"):
        assert f"words about {name.replace('_', chr(92) + '_')}" in full
    assert "not stated by the owner" not in full.partition("## The processing")[2]
    assert bare.count("not stated by the owner") > 15
    assert "needs `compliance.legal_basis` in the job" in bare


def test_nothing_is_claimed(finished):
    worksheet = fill_worksheet(finished)
    assert promises_in(render_risk(worksheet)) == []
    assert promises_in(worksheet.to_json().decode()) == []


def test_the_page_is_well_formed_whatever_the_owner_writes(base):
    evil = "a | b `c` <script>x</script> [l](http://x) \n\n# h *b* _i_ ![i](x)"
    found = read_finished(Release(Storage(), str(base / "full")))
    config = {**found.run.config, "compliance": dict.fromkeys(STATED, evil), "name": evil}
    page = render_risk(fill_worksheet(dataclasses.replace(found, run=dataclasses.replace(found.run, config=config))))
    for line in page.splitlines():
        assert not line.startswith("|") or len(re.findall(r"(?<!\\)\|", line)) in (3, 7), line
    assert "<script" not in re.sub(r"\\<script", "", page)


def test_evidence_of_another_state_is_no_answer(base, tmp_path):
    shutil.copytree(base / "full", tmp_path / "o")
    stats = json.loads((tmp_path / "o/stats.json").read_text())
    stats["bytes_in"] += 1
    (tmp_path / "o/stats.json").write_text(json.dumps(stats, indent=1))
    cells = fill_worksheet(read_finished(Release(Storage(), str(tmp_path / "o")))).cells
    entries = [
        entry for cell in cells for entry in cell.entries if entry.source == "evaluation.json: reidentification.rank_1"
    ]
    assert entries
    for entry in entries:
        assert entry.state == "not_measured"
        assert "measured on another state of this release" in entry.note


@settings(max_examples=60)
@given(
    st.builds(
        Figure,
        st.floats(0, 1),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0, 1),
        st.none() | st.integers(0, 10**9),
        st.sampled_from(["faces", "persons"]),
        st.sampled_from(["", "a note"]),
    )
)
def test_every_figure_makes_an_entry_that_the_schema_takes(figure):
    entry = from_figure(figure, "what", "evaluation.json: x", "anon-batch evaluate OUTPUT", "a sample").to_json()
    ENTRY.validate(entry)


def test_nothing_has_no_share():
    assert (share("x", 0, 0, "rows", "s").measure, share("x", 0, 4, "rows", "s").measure) == ("number", "share")


def test_release_writes_it_and_signs_it(base, tmp_path):
    shutil.copytree(base / "bare", tmp_path / "o")
    shutil.copytree(base / "bare-ledger", tmp_path / "o-ledger")
    assert CliRunner().invoke(app, ["keys", "new", "--sign", str(tmp_path / "key")]).exit_code == 0
    done = CliRunner().invoke(app, ["release", str(tmp_path / "o"), "--sign-key", str(tmp_path / "key")])
    assert done.exit_code == 0, done.output
    jsonschema.validate(json.loads((tmp_path / "o/risk.json").read_text()), SCHEMA)
    assert (tmp_path / "o/risk.md").read_text().startswith("# Risk worksheet of ")
    (tmp_path / "o/risk.md").write_text("nothing to see")
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "o"), "--key", str(tmp_path / "key.pub")])
    assert "risk.md: changed since the release was signed" in done.output


def test_persons_who_were_found_by_comparing_faces_are_counted(base) -> None:
    finished = read_finished(Release(Storage(), str(base / "bare")))
    expected = {"value": 0.84, "low": 0.02, "high": 23.0}
    identity = {
        "source": "cluster",
        "pairs": 1000,
        "linked": 5,
        "compared": 20,
        "persons": 2,
        "expected_false_pairs": expected,
    }

    def texts(identity: dict[str, object] | None) -> str:
        config = {**finished.run.config, **({} if identity is None else {"identity": identity})}
        sheet = fill_worksheet(dataclasses.replace(finished, run=dataclasses.replace(finished.run, config=config)))
        return repr(sheet)

    found = texts(identity)
    assert "faces of a person with several" in found
    assert "0.84 false pairs expected (95 % interval 0.02 to 23); rounded up here" in found
    assert "anon-batch computes none" not in found
    assert "200 pairs of faces of one image" in texts({**identity, "expected_false_pairs": None})
    assert "anon-batch computes none" in texts(None)
