"""The table of methods: what is kept and what is measured again, peers measured as ours, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from wider_miniature import Face, write_wider

from anon_batch.config import DetectorConfig, load_job
from anon_batch.evaluate.setup import EvaluationConfig
from anon_batch.evaluate.subjects import EvaluatedMethod
from anon_batch.geometry import union_of_masks
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Clean
from anon_batch.records import Detections
from anon_batch.storage import Storage
from benchmarks import table, table_settings
from benchmarks.pace import measure_rate
from benchmarks.peers import PEERS, Deface, PeerMethod
from benchmarks.table_settings import METHODS, Section, settings_digest, settings_of

SAMPLE = Path(__file__).parents[2] / "manifests/sample"
STORAGE = Storage()


@pytest.fixture
def section(tmp_path: Path) -> Section:
    (tmp_path / "m.parquet").write_bytes(b"a manifest")
    job = load_job(None, {"manifest": "none", "output": "none"})
    manifest = str(tmp_path / "m.parquet")
    return Section("photographs", "Photographs", EvaluationConfig(job, ("solid",), "out", manifest=manifest))


def digest(section: Section, method: str = "solid") -> str:
    return settings_digest(settings_of(section, method, STORAGE))


def test_whatever_changes_a_figure_changes_the_digest(
    section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_settings, "code_digest", lambda: "code")
    first = digest(section)
    assert digest(section) == first
    other = load_job(None, {"manifest": "none", "output": "none", "anonymize.face.expansion": 1.4})
    changes: dict[str, Any] = {
        "seed": 1,
        "limit": 5,
        "job": other,
        "scorer": DetectorConfig(name="yunet_n"),
    }
    found = {digest(replace(section, config=replace(section.config, **{name: to}))) for name, to in changes.items()}
    found |= {digest(section, method) for method in ("blur", "deface-blur", "deface-solid")}
    (tmp_path / "m.parquet").write_bytes(b"another one")
    found.add(digest(section))
    monkeypatch.setattr(table_settings, "code_digest", lambda: "other code")
    found.add(digest(section))
    assert len({first, *found}) == 1 + len(changes) + 3 + 2


def test_a_result_is_kept_under_its_settings(
    section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    class Measured:
        def to_dict(self) -> dict[str, Any]:
            return {"methods": {}}

    def evaluate(config: EvaluationConfig, on_message: Any, adapt: Any) -> Measured:
        calls.append(config.output)
        adapt(None)
        STORAGE.put(f"{config.output}/measures.json", b"{}")
        return Measured()

    monkeypatch.setattr(table, "evaluate", evaluate)
    monkeypatch.setattr(table, "_pace", lambda *_: None)
    output = str(tmp_path / "table")
    first = table.measure(STORAGE, section, "solid", output)
    assert table.measure(STORAGE, section, "solid", output) == first
    assert len(calls) == 1
    assert "kept from" in capsys.readouterr().err
    changed = replace(section, config=replace(section.config, seed=7))
    assert table.measure(STORAGE, changed, "solid", output)["digest"] != first["digest"]
    assert len(calls) == 2
    Path(calls[0], "result.json").unlink()  # as after a kill in the middle
    table.measure(STORAGE, section, "solid", output)
    Path(calls[0], "result.json").write_text('{"method": ')
    table.measure(STORAGE, section, "solid", output)
    assert len(calls) == 4


def test_a_rate_is_that_of_the_median_pass() -> None:
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0, 30.0, 34.0])
    rate = measure_rate([lambda: None, lambda: None], 8, lambda: next(ticks))
    assert (rate.count, rate.per_s, rate.slowest, rate.fastest) == (8, 4, 2, 8)


@pytest.mark.parametrize("name", PEERS)
def test_what_a_peer_changes_lies_in_its_masks(name: str) -> None:
    with Image.open(SAMPLE / "photos/people/london/six_people.jpg") as image:
        pixels = np.asarray(image.convert("RGB"))
    source = SourceImage.from_array("a", pixels)
    method = PeerMethod(name, None, PEERS[name], Deface())  # type: ignore[arg-type]
    [found] = method.anonymize([(source, Detections.empty())], b"")
    assert isinstance(found, Anonymized)
    assert len(found.regions) == 6
    assert set(found.methods.values()) == {name}
    changed = (found.pixels != pixels).any(axis=2)
    mask = union_of_masks(found.regions, *pixels.shape[1::-1])
    assert changed.sum() > 0.8 * mask.sum()
    outside = changed & ~mask
    assert outside.sum() <= 0.02 * mask.sum(), "the border of what it draws is its own"
    empty = SourceImage.from_array("b", np.zeros((60, 80, 3), np.uint8))
    assert isinstance(method.anonymize([(empty, Detections.empty())], b"")[0], Clean)
    assert isinstance(method, EvaluatedMethod)


def test_unknown_names_and_missing_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("ANON_BATCH_TEST_DATA", raising=False)
    output = ["-o", str(tmp_path / "t")]
    assert table.main(["--methods", "nosuch", *output]) == 2
    assert "nosuch" in capsys.readouterr().err
    assert table.main(["--pairs", "p.csv", *output]) == 2
    assert "--embedder" in capsys.readouterr().err
    assert table.main(["none", "--wider", str(tmp_path), *output]) != 0
    with pytest.raises(SystemExit):
        table.main(["none", *output])


@pytest.mark.full
def test_the_command_on_the_sample_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANON_BATCH_TEST_DATA", raising=False)
    arguments = ["--methods", "solid,deface-solid", "-o", str(tmp_path / "table")]
    assert table.main(arguments) == 0
    first = capsys.readouterr()
    assert first.err.count("measuring") == 2
    assert "| `deface-solid` |" in first.out
    assert "99.3%" in first.out
    assert (tmp_path / "table/table.md").read_text() == first.out.rstrip("\n") + "\n"
    content = json.loads((tmp_path / "table/table.json").read_text())
    kept = content["sections"][0]["results"][0]["measures"]["methods"]["solid"]["average_precision"]
    assert kept["labelled_faces"]["all"]["kept"] < 0.6
    assert table.main(arguments) == 0
    again = capsys.readouterr()
    assert again.err.count("kept from") == 2
    assert again.out == first.out
    assert table.main([*arguments, "--seed", "1", "--methods", "solid"]) == 0
    assert capsys.readouterr().err.count("measuring") == 1


@pytest.mark.full
def test_wider_face_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Photographs of the sample stand in for WIDER FACE: their faces are easy from 90 px, hard all of them."""
    faces = json.loads((SAMPLE / "faces.json").read_text())
    boxes = {name: own for name, own in faces.items() if own}
    events: dict[str, dict[str, list[Face]]] = {"0--People": {}}
    for name, own in boxes.items():
        rows = [[round(v) for v in box[:4]] for box in own]
        events["0--People"][Path(name).stem] = [
            Face((x1, y1, x2 - x1, y2 - y1), "easy medium hard" if x2 - x1 >= 90 else "hard") for x1, y1, x2, y2 in rows
        ]
    root = write_wider(tmp_path / "wider", events, (8, 8))
    for name in boxes:
        with Image.open(SAMPLE / "photos" / name) as image:
            ImageOps.exif_transpose(image).convert("RGB").save(
                root / f"WIDER_val/images/0--People/{Path(name).stem}.jpg", quality=95
            )
    arguments = ["none", "--wider", str(root), "--methods", "swap,solid", "-o", str(tmp_path / "table")]
    assert table.main(arguments) == 0
    page = capsys.readouterr().out
    assert "AP kept, easy" in page
    results = json.loads((tmp_path / "table/table.json").read_text())["sections"][0]["results"]
    swap, solid = (own["measures"]["methods"][own["method"]]["wider"] for own in results)
    assert swap["hard"]["before"] > 0.9
    assert swap["hard"]["kept"] > 0.9 > solid["hard"]["kept"]
    assert solid["hard"]["faces"] == sum(map(len, boxes.values()))
    assert set(METHODS) >= {"swap", "solid"}
