"""Patches: only the rows that a change touches are done again, in every layout, and the release holds afterwards."""

from __future__ import annotations

import io
import json
import tarfile
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from patch_fixtures import Here, audit_of, files_of, images_of, patch_release, private_files, review, rows_of
from PIL import Image
from pipeline_fixtures import BOX as FACE
from pipeline_fixtures import FACES, image_bytes, job, release, verdict, write_dataset
from typer.testing import CliRunner

from anon_batch import plugins
from anon_batch.cli.app import app
from anon_batch.errors import ConfigError, ResumeRefusedError, UnknownNameError
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence, Sample
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.shard_file import read_members
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.pipeline.kept_evidence import read_kept_evidence
from anon_batch.pipeline.patch.job import Ask
from anon_batch.pipeline.run import Run
from anon_batch.release.erase.erase import Eraser
from anon_batch.release.erase.request import EraseRequest
from anon_batch.stats.figure import Figure
from anon_batch.storage import Storage

IDS = [f"a/{index}.png" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]
BOX = DrawnBox(14, 6, 22, 16)
WITHOUT_FACES = [{"name": "manifest", "labels": ["licence_plate"]}]
NOTHING: dict[str, int] = {}


@pytest.fixture(params=LAYOUTS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    return release(job(str(tmp_path), write__layout=request.param))


@pytest.fixture
def files_run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    return release(job(str(tmp_path)))


def _same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return {**old, "output": 0} == {**new, "output": 0}  # because the shard file has another name


def _check_only(run: Run, changed: set[int], before: list[dict[str, Any]], images: dict[str, bytes]) -> None:
    """Check that rows and images are those of before, but for the changed ones, and that the release holds."""
    now = images_of(run)
    for index, (old, new) in enumerate(zip(before, rows_of(run), strict=True)):
        assert _same(old, new) == (index not in changed), index
        if index not in changed:
            assert now.get(old["image_id"]) == images.get(old["image_id"])
    for with_ledger in (True, False):
        assert verdict(run, with_ledger=with_ledger).faults == []
    assert private_files(run) == []


def test_drawn_boxes_end_in_regions_and_all_other_rows_stay(run: Run) -> None:
    before, images = rows_of(run), images_of(run)
    review(run, {IDS[1]: [BOX], IDS[4]: [BOX]})
    summary = patch_release(run, Ask(verdicts=True))
    assert (summary.version, dict(summary.touched)) == (2, {"verdict": 2})
    _check_only(run, {1, 4}, before, images)
    after, now = rows_of(run), images_of(run)
    for index in (1, 4):
        region = after[index]["regions"][-1]
        assert region["x1"] <= BOX.x1 < BOX.x2 <= region["x2"]
        assert region["y1"] <= BOX.y1 < BOX.y2 <= region["y2"]
        assert after[index]["regions"][:-1] == before[index]["regions"]
        assert now[IDS[index]] != images[IDS[index]]
        assert not any(images[IDS[index]] in data for data in files_of(run).values()), "the old image is still there"
    assert [own["detector"] for own in audit_of(run)[4]["detections"]] == ["manifest", "drawn"]
    again = patch_release(run, Ask(verdicts=True))
    assert (again.version, again.touched) == (None, NOTHING)


def test_what_other_detectors_find_is_done_again(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path), write__layout="webdataset", detect__detectors=WITHOUT_FACES))
    assert {row["status"] for row in rows_of(run)} == {"clean"}
    before, images = rows_of(run), images_of(run)
    summary = patch_release(run, job=job(str(tmp_path), write__layout="webdataset"))
    assert (summary.version, dict(summary.touched)) == (2, {"detections": 5})
    _check_only(run, {0, 2, 4, 6, 8}, before, images)
    statuses = {"anonymized": 5, "clean": 4, "withheld": 0, "failed": 0}
    assert json.loads((Path(run.release.uri) / "stats.json").read_text())["statuses"] == statuses
    version = Release(Storage(), run.release.uri).versions[-1]
    assert version.config["detect"]["detectors"][0]["labels"] is None
    assert dict(version.changes) == {"changed": 5, "other_detections": 5, "anonymized": 5}
    again = patch_release(run, job=job(str(tmp_path), write__layout="webdataset"))
    assert (again.version, again.touched) == (None, NOTHING)


def test_a_patched_release_is_the_one_that_the_new_job_makes(run: Run, tmp_path: Path) -> None:
    settings = {"anonymize__face__method": "pixelate", "write__layout": run.config.write.layout}
    summary = patch_release(run, job=job(str(tmp_path), **settings))
    assert dict(summary.touched) == {"settings": 5}
    fresh = release(job(str(tmp_path), "fresh", **settings))
    assert images_of(run) == images_of(fresh)
    ignored = {"output": 0, "run_id": 0}
    assert [{**row, **ignored} for row in rows_of(run)] == [{**row, **ignored} for row in rows_of(fresh)]
    one, other = (json.loads((Path(own.release.uri) / "stats.json").read_text()) for own in (run, fresh))
    times = {"timing": None, "seconds": None}
    assert {**one, **times} == {**other, **times}


def test_rows_that_failed_are_retried(run: Run, tmp_path: Path) -> None:
    source, config = tmp_path / "src" / IDS[3], job(str(tmp_path), "second", write__layout=run.config.write.layout)
    data = source.read_bytes()
    source.unlink()
    second = release(config)
    before, images = rows_of(second), images_of(second)
    assert before[3]["reason"] == "source_not_found"
    assert patch_release(second, Ask(retry=("decode",))).touched == NOTHING
    failed = patch_release(second, Ask(retry=("source_not_found",)))
    assert (failed.version, dict(failed.touched), failed.changed.same) == (None, {"retry": 1}, 1)
    assert Release(Storage(), second.release.uri).version == 1
    assert second.ledger.version_in_the_making() is None
    source.write_bytes(data)
    summary = patch_release(second, Ask(retry=("source_not_found",)))
    assert summary.version == 2
    _check_only(second, {3}, before, images)
    assert images_of(second)[IDS[3]] == images_of(run)[IDS[3]]


def test_larger_limits_let_rows_through(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    (tmp_path / "src" / IDS[5]).write_bytes(image_bytes(5, size=(60, 50)))
    run = release(job(str(tmp_path), limits__max_pixels=1000))
    assert rows_of(run)[5]["reason"] == "too_many_pixels"
    summary = patch_release(run, Ask(retry=("too_many_pixels",)), job(str(tmp_path)))
    assert dict(summary.changed.statuses) == {"clean": 1}
    assert Release(Storage(), run.release.uri).versions[-1].config.keys() == {"limits"}


def test_a_dry_run_changes_nothing(run: Run) -> None:
    review(run, {IDS[1]: [BOX]})
    before = files_of(run)
    summary = patch_release(run, Ask(verdicts=True), dry_run=True, anonymize__face__method="blur")
    assert (summary.version, dict(summary.touched)) == (None, {"settings": 5, "verdict": 1})
    assert files_of(run) == before
    assert run.ledger.version_plans() == []
    assert private_files(run) == []


def test_drawn_boxes_stay_with_their_row(files_run: Run, tmp_path: Path) -> None:
    review(files_run, {IDS[4]: [BOX]})
    patch_release(files_run, Ask(verdicts=True))
    patch_release(files_run, anonymize__face__method="pixelate")
    assert [own["method"] for own in rows_of(files_run)[4]["regions"]] == ["pixelate", "pixelate"]
    assert rows_of(files_run)[4]["output"] == "images/a/4.v3.png"
    source = tmp_path / "src" / IDS[4]
    data = source.read_bytes()
    source.unlink()
    patch_release(files_run, anonymize__face__method="solid")
    assert (rows_of(files_run)[4]["reason"], audit_of(files_run)[4]["detections"]) == ("source_not_found", None)
    source.write_bytes(data)
    patch_release(files_run, Ask(retry=("source_not_found",)))
    assert [own["method"] for own in rows_of(files_run)[4]["regions"]] == ["solid", "solid"]
    assert verdict(files_run).faults == []


def test_a_source_that_changed_is_not_published_in_its_place(files_run: Run, tmp_path: Path) -> None:
    review(files_run, {IDS[1]: [BOX]})
    (tmp_path / "src" / IDS[1]).write_bytes(image_bytes(77))
    patch_release(files_run, Ask(verdicts=True))
    assert rows_of(files_run)[1]["reason"] == "source_changed"
    assert "images/a/1.png" not in files_of(files_run)


def test_rows_that_cannot_be_searched_stay_and_are_counted(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path), detect__detectors=WITHOUT_FACES))
    (tmp_path / "src" / IDS[0]).unlink()
    (tmp_path / "src" / IDS[1]).write_bytes(image_bytes(77))
    before, images = rows_of(run), images_of(run)
    summary = patch_release(run, job=job(str(tmp_path)))
    assert dict(summary.unsearched) == {"source_changed": 1, "source_not_found": 1}
    _check_only(run, {2, 4, 6, 8}, before, images)
    assert Release(Storage(), run.release.uri).versions[-1].changes["not_searched"] == 2


def test_a_kept_region_is_anonymized_if_a_person_draws_it(tmp_path: Path) -> None:
    faces = pa.list_(pa.struct([*FACES.value_type, ("keep", pa.bool_())]))
    kept = [[{**FACE, "keep": True}] for _ in IDS]
    write_dataset(str(tmp_path), IDS, faces=pa.array(kept, faces))
    run = release(job(str(tmp_path)))
    assert {row["status"] for row in rows_of(run)} == {"clean"}
    review(run, {IDS[2]: [DrawnBox(4, 4, 12, 12)]})
    patch_release(run, Ask(verdicts=True))
    assert [row["status"] for row in rows_of(run)].count("anonymized") == 1
    assert len(rows_of(run)[2]["regions"]) == 1


def test_an_id_that_looks_like_a_later_version_keeps_its_image(tmp_path: Path) -> None:
    ids = ["a.png", "a.v2.png"]
    write_dataset(str(tmp_path), ids)
    run = release(job(str(tmp_path)))
    before, images = rows_of(run), images_of(run)
    review(run, {"a.png": [BOX]})
    patch_release(run, Ask(verdicts=True))
    _check_only(run, {0}, before, images)


def test_pass_through_columns_keep_their_values(tmp_path: Path) -> None:
    extra = {
        "text": pa.array(["ä", None, "x"] * 3),
        "number": pa.array([1, None, 3] * 3, pa.int16()),
        "when": pa.array([0, None, 86_400] * 3, pa.timestamp("s", "UTC")),
        "tags": pa.array([["a"], None, []] * 3, pa.list_(pa.string())),
        "share": pa.array([0.5, None, float("nan")] * 3),
        "slice_light": pa.array(["night", "day", "day"] * 3),
    }
    for own in ("webdataset", "parquet"):
        base = str(tmp_path / own)
        write_dataset(base, IDS, extra)
        run = release(job(base, write__layout=own, detect__detectors=WITHOUT_FACES))
        before = rows_of(run)
        patch_release(run, job=job(base, write__layout=own))
        for old, new in zip(before, rows_of(run), strict=True):
            for name in ("text", "number", "when", "tags"):
                assert old[name] == new[name]
            assert str(old["share"]) == str(new["share"])
        fresh = release(job(base, "fresh", write__layout=own))
        assert _shards(run) == _shards(fresh)
        assert verdict(run).faults == []


def _shards(run: Run) -> list[bytes]:
    files = files_of(run)
    return [files[key] for key in sorted(files) if key.startswith("shards/")]


def test_evidence_of_an_older_version_is_not_believed(files_run: Run) -> None:
    stats = files_run.release.read_stats()
    figures = {"missed.all": Figure(0.1, n=9, unit="faces")}
    evidence = Evidence(files_run.plan.run_id, "2026-01-01T00:00:00+00:00", "1", Sample(9, 9), stats.sha256, figures)
    files_run.release.write_evidence(layout.EVALUATION, evidence)
    review(files_run, {IDS[1]: [BOX]})
    patch_release(files_run, Ask(verdicts=True))
    place = Release(Storage(), files_run.release.uri)
    kept = read_kept_evidence(place, files_run.plan.run_id, place.read_stats())
    assert kept.figure(layout.EVALUATION, "missed.all").value is None
    assert not (Path(files_run.release.uri) / layout.CARD).exists()


def test_what_a_patch_cannot_change_is_refused(files_run: Run, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"write__layout": "parquet"},
        {"write__quality": 50},
        {"name": "b"},
        {"sample__limit": 3},
    ]
    for change in changes:
        with pytest.raises(ResumeRefusedError, match=f"Differences: {next(iter(change)).replace('__', '.')}"):
            patch_release(files_run, job=job(str(tmp_path), **change))
    (tmp_path / "key2").write_bytes(bytes(32))
    with pytest.raises(ResumeRefusedError, match="run key: was"):
        patch_release(files_run, job=job(str(tmp_path), run_key_file=str(tmp_path / "key2")))
    write_dataset(str(tmp_path), IDS, faces=pa.array([[]] * 9, FACES))
    with pytest.raises(ResumeRefusedError, match="manifest rows"):
        patch_release(files_run, job=job(str(tmp_path)))
    with pytest.raises(UnknownNameError, match="Did you mean 'decode'"):
        patch_release(files_run, Ask(retry=("decoded",)))
    with pytest.raises(ConfigError, match="stays erased"):
        patch_release(files_run, Ask(retry=("erased",)))
    assert files_run.ledger.version_plans() == []


def test_verdicts_of_another_run_and_without_boxes_change_nothing(files_run: Run) -> None:
    review(files_run, {IDS[1]: [], "gone.png": [BOX]})
    assert patch_release(files_run, Ask(verdicts=True)).touched == NOTHING
    path = Path(files_run.ledger.uri) / layout.LEDGER_REVIEW / "verdicts-0123456789abcdef.json"
    review(files_run, {IDS[1]: [BOX]})
    path.write_text(path.read_text().replace(files_run.plan.run_id, "another"))
    assert patch_release(files_run, Ask(verdicts=True)).touched == NOTHING


def test_a_search_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path), detect__detectors=WITHOUT_FACES))
    first, second = Here(), Here()
    patch_release(run, job=job(str(tmp_path)), workers=first, dry_run=True)
    summary = patch_release(run, job=job(str(tmp_path)), workers=second)
    assert (len(first.searched), second.searched, summary.version) == (3, [], 2)
    assert private_files(run) == []


@pytest.mark.parametrize("own", LAYOUTS)
def test_erased_rows_stay_erased_and_patched_ones_can_be_erased(own: str, tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path), write__layout=own, detect__detectors=WITHOUT_FACES))
    review(run, {IDS[0]: [BOX], IDS[1]: [BOX]})
    _erase(run, IDS[0])
    patch_release(run, Ask(verdicts=True, retry=("write",)), job(str(tmp_path), write__layout=own))
    rows = rows_of(run)
    anonymized = [index for index, row in enumerate(rows) if row["status"] == "anonymized"]
    assert (rows[0]["status"], anonymized) == ("withheld", [1, 2, 4, 6, 8])
    assert rows[0]["image_id"] == "erased/0"
    assert verdict(run).faults == []
    image = images_of(run)[IDS[1]]
    _erase(run, IDS[1])
    assert verdict(run).faults == []
    assert not any(image in data for data in files_of(run).values())
    assert not any(IDS[1].encode() in path.read_bytes() for path in Path(run.ledger.uri).rglob("*.json"))


def _erase(run: Run, image_id: str) -> None:
    place, ledger = Release(Storage(), run.release.uri), Ledger(Storage(), run.ledger.uri)
    eraser, request = Eraser(place, ledger), EraseRequest(ids=(image_id,))
    found = eraser.find(request)
    eraser.check(found)
    eraser.erase(request, found)


def test_samples_of_a_tar_keep_their_keys_and_their_other_members(tmp_path: Path) -> None:
    tar = tmp_path / "src/data.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as file:
        for key in ("x", "y", "z"):
            _add(file, f"{key}.left.png", image_bytes(1))
            _add(file, f"{key}.right.png", image_bytes(2))
            _add(file, f"{key}.txt", key.encode())
    _make_manifest(tmp_path, tar)
    (tmp_path / "key").write_bytes(bytes(range(32)))
    config = job(
        str(tmp_path), write__layout="webdataset", detect__detectors=["centerface"], sources__allow=[str(tmp_path)]
    )
    run = release(config)
    before, shards = rows_of(run), _shards(run)
    assert len(before) == 6
    review(run, {before[2]["image_id"]: [BOX]})
    patch_release(run, Ask(verdicts=True))
    after = rows_of(run)
    assert [row["member"] for row in before] == [row["member"] for row in after]
    assert verdict(run).faults == []
    old, new = (dict(read_members(b, "a.tar")) for b in (shards[0], _shards(run)[0]))
    assert list(old) == list(new)
    assert [name for name in old if old[name] != new[name]] == [before[2]["member"]]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _make_manifest(folder: Path, tar: Path) -> None:
    done = CliRunner().invoke(app, ["manifest", str(tar), "-o", str(folder / "m.parquet")])
    assert done.exit_code == 0, done.output


def test_checks_of_the_whole_image_find_rows_too(tmp_path: Path, red_check: None) -> None:
    write_dataset(str(tmp_path), IDS)
    pixels = np.zeros((20, 24, 3), np.uint8)
    pixels[15, 20] = (255, 0, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    for index in (3, 4):
        (tmp_path / "src" / IDS[index]).write_bytes(buffer.getvalue())
    run = release(job(str(tmp_path)))
    before, images = rows_of(run), images_of(run)
    summary = patch_release(run, job=job(str(tmp_path), checks={"no_red": {}}))
    assert dict(summary.touched) == {"detections": 1, "settings": 5}
    assert (summary.changed.count, summary.changed.same) == (2, 4)
    _check_only(run, {3, 4}, before, images)
    again = patch_release(run, job=job(str(tmp_path), checks={"no_red": {}}))
    assert (again.version, again.touched) == (None, NOTHING)
    others = patch_release(run, detect__min_side_px=1, dry_run=True)
    assert others.touched == NOTHING, "what the check added is no other detection"


@pytest.fixture
def red_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        own = [EntryPoint("no_red", "sample_checks:NoRed", group)] if group == "anon_batch.checks" else []
        return [*entry_points(group=group), *own]

    monkeypatch.setattr(plugins, "entry_points", points)
