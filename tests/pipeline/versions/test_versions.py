"""New versions of a release: rows are replaced in every layout, whatever dies, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import DyingStorage, Killed, image_bytes, job, on_storage, release, verdict, write_dataset

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence, Sample
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.version_json import Tombstone, Version, check_chain
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.kept_evidence import read_kept_evidence
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.versions.begin import begin_version
from anon_batch.pipeline.versions.finish import finish_version, publish_version
from anon_batch.pipeline.versions.rewrite import NewRow, rewrite_part
from anon_batch.records import ShardSpec
from anon_batch.shards import effective
from anon_batch.stats import ShardStats, merge_all
from anon_batch.stats.figure import Figure
from anon_batch.storage import Storage

IDS = [f"a/{index}.png" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]


def _withheld(place: Release, ledger: Ledger, spec: ShardSpec, number: int) -> NewRow:
    """Return the row as it would be if a check had withheld it."""
    part = place.read_part(spec)
    public = part.table.slice(number - spec.start, 1).to_pylist()[0]
    private = ledger.read_audit(spec, part.meta.attempt).slice(number - spec.start, 1).to_pylist()[0]
    stats = ShardStats()
    stats.add_row("withheld", "check_failed")
    gone = {"status": "withheld", "reason": "check_failed"}
    nothing = {"output": None, "member": None, "sha256": None, "size_bytes": None, "format": None, "regions": []}
    nothing["synthetic"] = None
    return NewRow({**public, **gone, **nothing}, {**private, **gone, "stats": stats.to_json()})


def _withhold(run: Run, numbers: list[int], kind: Any = "patch") -> None:
    """Make a new version in which these rows are withheld, as a command does."""
    place, ledger = Release(run.storage, run.release.uri), Ledger(run.ledger.storage, run.ledger.uri)
    if finish_version(place, ledger) is not None:
        return
    new = begin_version(place, ledger, kind, {"rows": numbers})
    specs = [s for s in effective(place.parts()) if any(s.start <= number < s.stop for number in numbers)]
    for spec in specs:
        own = {n: _withheld(place, ledger, spec, n) for n in numbers if spec.start <= n < spec.stop}
        rewrite_part(new, spec, own)
    tombstones = [Tombstone(n) for n in numbers] if kind == "erase" else []
    publish_version(new, specs, tombstones=tombstones, changes={"withheld": len(numbers)})
    finish_version(place, ledger)


def _rows(run: Run) -> list[dict[str, Any]]:
    place = Release(run.storage, run.release.uri)
    return [row for spec in effective(place.parts()) for row in place.read_part(spec).table.to_pylist()]


def _files(run: Run) -> dict[str, bytes]:
    place = Release(run.storage, run.release.uri)
    return {info.key: place.read(info.key) for info in place.objects("")}


@pytest.fixture(params=LAYOUTS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    return release(job(str(tmp_path), write__layout=request.param))


def test_replaced_rows_are_gone_and_all_others_stay_as_they_are(run: Run) -> None:
    before = {row["image_id"]: row for row in _rows(run)}
    _withhold(run, [1, 6])
    after = {row["image_id"]: row for row in _rows(run)}
    assert list(after) == IDS
    for index, image_id in enumerate(IDS):
        if index in (1, 6):
            assert (after[image_id]["status"], after[image_id]["output"]) == ("withheld", None)
        else:
            assert {**after[image_id], "output": 0} == {**before[image_id], "output": 0}
    for with_ledger in (True, False):
        found = verdict(run, with_ledger=with_ledger)
        assert found.faults == []
        assert found.objects == 7
    stats = json.loads((Path(run.release.uri) / "stats.json").read_text())
    assert stats["statuses"] == {"anonymized": 4, "clean": 3, "withheld": 2, "failed": 0}
    assert json.loads((Path(run.release.uri) / "run.json").read_text())["statuses"]["withheld"] == 2


def test_a_part_is_counted_again_as_the_run_counted_it(run: Run) -> None:
    for spec in run.release.parts():
        meta = run.release.read_part(spec).meta
        audit = run.ledger.read_audit(spec, meta.attempt)
        counted = merge_all(ShardStats.from_json(text) for text in audit.column("stats").to_pylist())
        whole = ShardStats.from_json(run.ledger.read_audit_meta(spec, meta.attempt).stats)
        for name in ("stage_us", "stage_cpu_us", "worker_us", "process_cpu_us"):
            setattr(counted, name, getattr(whole, name))
        assert counted == whole
        assert whole.has_ground_truth


def test_images_of_the_version_before_are_not_kept(run: Run) -> None:
    before = {row["image_id"]: row for row in _rows(run)}
    _withhold(run, [1])
    files = _files(run)
    assert before[IDS[1]]["output"] not in files
    members = [row["member"] for row in _rows(run)]
    if run.config.write.layout == "webdataset":
        assert before[IDS[1]]["member"] not in members
        assert all(before[IDS[1]]["member"].encode() not in data for data in files.values())
    if run.config.write.layout == "parquet":
        shards = [Path(run.release.uri) / key for key in files if key.startswith("shards/")]
        assert IDS[1] not in [i for shard in shards for i in pq.read_table(shard).column("image_id").to_pylist()]


def test_a_row_gets_an_image_in_a_later_version(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path)))
    place, ledger = run.release, run.ledger
    spec = place.parts()[0]
    new = begin_version(place, ledger, "patch", {})
    row = place.read_part(spec).table.slice(2, 1).to_pylist()[0]
    private = ledger.read_audit(spec, place.read_part(spec).meta.attempt).slice(2, 1).to_pylist()[0]
    data = Storage().read(place.address(row["output"]))
    assert rewrite_part(new, spec, {2: NewRow(row, private, IDS[2], data)})
    assert not rewrite_part(new, spec, {2: NewRow(row, private, IDS[2], image_bytes(99))}), "the first one counts"
    publish_version(new, [spec])
    finish_version(place, ledger)
    assert _rows(run)[2]["output"] == "images/a/2.v2.png"
    assert "images/a/2.png" not in _files(run)
    assert verdict(run).faults == []


@pytest.mark.parametrize("after", [False, True])
def test_a_version_survives_a_death_at_every_change(run: Run, after: bool, tmp_path: Path) -> None:
    base = _files(run)
    whole = _copy(run, tmp_path / "whole")
    recorder = DyingStorage(run.config.storage)
    _withhold(on_storage(whole, recorder), [1, 6])
    expected = _comparable(whole)
    assert len(recorder.changes) > 10
    for dies_at in range(1, len(recorder.changes) + 1):
        copy = _copy(run, tmp_path / f"{dies_at}")
        assert _files(copy) == base
        with pytest.raises(Killed):
            _withhold(on_storage(copy, DyingStorage(run.config.storage, dies_at, after=after)), [1, 6])
        _withhold(copy, [1, 6]) if not _is_done(copy) else None
        assert _comparable(copy) == expected, recorder.changes[dies_at - 1]
        assert verdict(copy).faults == []


def _copy(run: Run, to: Path) -> Run:
    storage = Storage(run.config.storage)
    for source, folder in ((run.release, to / "out"), (run.ledger, to / "ledger")):
        for info in source.objects(""):
            storage.put(str(folder / info.key), Storage().read(source.address(info.key)))
    copy = on_storage(run, storage)
    object.__setattr__(copy, "release", Release(storage, str(to / "out")))
    object.__setattr__(copy, "ledger", Ledger(storage, str(to / "ledger")))
    return copy


def _is_done(run: Run) -> bool:
    plans = run.ledger.version_plans()
    return bool(plans) and plans[-1].done


def _comparable(run: Run) -> Any:
    rows = [{**row, "output": row["output"] and row["output"].partition("-v2-")[0]} for row in _rows(run)]
    names = sorted(key.partition("-v2-")[0] for key in _files(run))
    return rows, names, json.loads((Path(run.release.uri) / "stats.json").read_text())


def test_a_version_follows_another(run: Run) -> None:
    _withhold(run, [1])
    _withhold(run, [2, 6])
    assert [row["status"] for row in _rows(run)].count("withheld") == 3
    place = Release(run.storage, run.release.uri)
    assert place.version == 3
    assert list(check_chain(place.versions)) == []
    assert [version.kind for version in place.versions] == ["run", "patch", "patch"]
    assert verdict(run).faults == []


def test_a_changed_version_is_found(run: Run) -> None:
    _withhold(run, [1])
    path = Path(run.release.uri) / "versions/2.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "parent_sha256": "0" * 64}, indent=1))
    assert any("does not follow version 1" in fault for fault in verdict(run).faults)
    path.write_text(json.dumps({**fields, "parts": []}, indent=1))
    assert verdict(run).faults
    path.write_text(json.dumps(fields))
    with pytest.raises(IntegrityError, match="not as it was written"):
        verdict(run)
    path.write_text(json.dumps(fields, indent=1))
    (Path(run.release.uri) / "versions/1.json").unlink()
    with pytest.raises(IntegrityError, match=r"versions/1\.json: missing"):
        verdict(run)


def test_what_is_left_of_the_version_before_is_found(run: Run) -> None:
    old = {key: data for key, data in _files(run).items() if key.startswith(("provenance/", "images/", "shards/"))}
    _withhold(run, [1])
    for key, data in old.items():
        if not (path := Path(run.release.uri) / key).exists():
            path.write_bytes(data)
            assert any(key in fault for fault in verdict(run).faults)
            path.unlink()
    assert verdict(run).faults == []


def test_a_run_changes_nothing_of_a_later_version(run: Run) -> None:
    _withhold(run, [1, 6])
    before = _files(run)
    resumed, was = open_run(run.config, ())
    assert was
    finalize(resumed)
    assert _files(run) == before
    assert verdict(run).faults == []


def test_commands_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    begin_version(run.release, run.ledger, "patch", {"rows": [1]})
    begin_version(run.release, run.ledger, "patch", {"rows": [1]})
    with pytest.raises(ResumeRefusedError, match=r"another `anon-batch patch` has begun version 2"):
        begin_version(run.release, run.ledger, "patch", {"rows": [2]})
    with pytest.raises(ResumeRefusedError, match=r"`anon-batch patch` has begun version 2 and did not end"):
        open_run(run.config, ())
    with pytest.raises(ConfigError, match="no ledger here"):
        begin_version(run.release, Ledger(Storage(), str(tmp_path / "none")), "patch", {})
    with pytest.raises(ConfigError, match="no release here"):
        begin_version(Release(Storage(), str(tmp_path / "none")), run.ledger, "patch", {})


def test_evidence_outlives_an_erasure_and_says_so_but_no_patch(run: Run) -> None:
    stats = run.release.read_stats()
    evidence = Evidence(run.plan.run_id, "2026-01-01T00:00:00+00:00", "1", Sample(9, 9), stats.sha256)
    figures = {"missed.all": Figure(0.1, n=9, unit="faces", note="by hand"), "x": Figure.missing("no model")}
    run.release.write_evidence(layout.EVALUATION, Evidence(**{**_fields(evidence), "figures": figures}))
    _withhold(run, [1], "erase")
    place = Release(run.storage, run.release.uri)
    kept = read_kept_evidence(place, run.plan.run_id, place.read_stats())
    figure = kept.figure(layout.EVALUATION, "missed.all")
    assert (figure.value, figure.note) == (0.1, "measured on version 1, before 1 row was erased; by hand")
    assert kept.figure(layout.EVALUATION, "x").note == Figure.missing("no model").note
    _withhold(run, [2], "erase")
    place.look_up_versions()
    kept = read_kept_evidence(place, run.plan.run_id, place.read_stats())
    assert "version 1, before 2 rows were erased" in kept.figure(layout.EVALUATION, "missed.all").note
    _withhold(run, [3])
    place.look_up_versions()
    kept = read_kept_evidence(place, run.plan.run_id, place.read_stats())
    assert kept.figure(layout.EVALUATION, "missed.all").value is None


def _fields(evidence: Evidence) -> dict[str, Any]:
    return {name: getattr(evidence, name) for name in evidence.__slots__}


def test_a_version_is_read_as_it_was_written() -> None:
    version = Version(
        2, "erase", "r", "2026-01-01T00:00:00+00:00", "p", "q", "s", ("0000000000-4",), (Tombstone(3, "d"),), {"a": 1}
    )
    assert Version.from_json(version.to_json(), "u") == version
    for damage in (b"", b"{}", version.to_json().replace(b'"number": 2', b'"number": "2"'), version.to_json() + b" "):
        with pytest.raises(IntegrityError, match="u: damaged"):
            Version.from_json(damage, "u")
    with pytest.raises(ConfigError, match="Update anon-batch"):
        Version.from_json(version.to_json().replace(b'"version": 1', b'"version": 9'), "u")


def test_a_later_version_keeps_the_time_at_which_the_run_finished(run: Run) -> None:
    record = run.release.read_run_json()
    place = Release(run.storage, run.release.uri)
    place.write_run_json(dataclasses.replace(record, finished_at="2020-01-01T00:00:00+00:00"))
    _withhold(run, [1])
    assert place.read_run_json().finished_at == "2020-01-01T00:00:00+00:00"
    place.look_up_versions()
    assert place.versions[0].created_at == "2020-01-01T00:00:00+00:00"
