"""The file of measures keeps what is written and refuses what is damaged."""

import json
import math

import pytest

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.evidence_json import Curve, Evidence, Sample, Table
from anon_batch.stats.figure import Figure


def evidence():
    return Evidence(
        run_id="r1",
        created_at="2026-01-01T00:00:00Z",
        tool_version="1",
        sample=Sample(10, 100, 3),
        stats_sha256="0" * 64,
        figures={"missed.all": Figure(0.1, 0.02, 0.3, 10, "labelled faces"), "ap_kept": Figure.missing("no scorer")},
        tables={"sizes": Table("By size.", ("size", "missed"), (("16 px", Figure(0.5, n=2)), ("32 px", None)), "95 %")},
        curves={"det": Curve("DET", "FMR", "FNMR", {"naive": [(0.01, 0.5), (0.1, 0.2)]}, log_x=True)},
        models=("a@b",),
        skipped={"canary": "no labels"},
    )


def test_it_reads_what_it_wrote():
    assert Evidence.from_json(evidence().to_json(), "x") == evidence()


def damage(path, value):
    read = json.loads(evidence().to_json())
    *outer, last = path
    part = read
    for key in outer:
        part = part[key]
    part[last] = value
    return json.dumps(read).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("figures", "ap_kept"), {"value": None}),
        (("figures", "ap_kept"), {"value": "1", "note": ""}),
        (("figures", "ap_kept"), {"value": 1, "path": "s3://source"}),
        (("figures", "ap_kept"), {"value": 1, "n": 1.5}),
        (("figures", "ap_kept"), {"value": 10**400}),
        (("curves", "det", "lines"), {"a": [[10**400, 1]]}),
        (("sample",), {}),
        (("sample", "rows"), math.inf),
        (("sample", "rows"), -1),
        (("sample", "of"), True),
        (("tables", "sizes", "rows"), [[1]]),
        (("tables", "sizes", "rows"), [[[], 1]]),
        (("curves", "det", "lines"), {"a": [[1]]}),
        (("skipped",), []),
    ],
)
def test_damage_is_reported_with_the_address(path, value):
    with pytest.raises(IntegrityError, match=r"^s3://b/evaluation\.json: damaged"):
        Evidence.from_json(damage(path, value), "s3://b/evaluation.json")


def test_brackets_without_end_are_damage():
    with pytest.raises(IntegrityError, match="damaged"):
        Evidence.from_json(b"[" * 100_000, "x")


def test_another_version_is_refused():
    with pytest.raises(ConfigError, match="Update anon-batch"):
        Evidence.from_json(damage(("version",), 99), "x")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="finite"):
        Figure(value)
    with pytest.raises(ValueError, match="finite"):
        Curve("", "", "", {"a": [(0.0, value)]})


def test_what_was_not_measured_says_why():
    with pytest.raises(ValueError, match="says why"):
        Figure(None)
