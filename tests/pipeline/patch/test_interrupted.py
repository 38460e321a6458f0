"""Patches that die at any change of storage, or run twice at once, end in the version of an undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from patch_fixtures import Here, files_of, patch_release, private_files, review, rows_of
from pipeline_fixtures import DyingStorage, Killed, job, on_storage, release, verdict, write_dataset

from anon_batch.errors import ResumeRefusedError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.pipeline.patch.job import Ask
from anon_batch.pipeline.run import Run, open_run
from anon_batch.storage import Storage

IDS = [f"a/{index}.png" for index in range(6)]
BOX = DrawnBox(14, 6, 22, 16)
ASK = Ask(verdicts=True, retry=("source_not_found",))
EVERY_QUICK = 13


def _release(base: Path, layout: str) -> Run:
    write_dataset(str(base), IDS)
    source = base / "src" / IDS[3]
    data = source.read_bytes()
    source.unlink()
    run = release(job(str(base), write__layout=layout, detect__detectors=[{"name": "manifest", "labels": ["x"]}]))
    source.write_bytes(data)
    review(run, {IDS[1]: [BOX]})
    return run


def _patch(run: Run, **settings: Any) -> Any:
    return patch_release(run, ASK, detect__detectors=["manifest"], **settings)


def _copy(run: Run, to: Path, storage: Storage | None = None) -> Run:
    storage = storage or Storage(run.config.storage)
    for source, folder in ((run.release, to / "out"), (run.ledger, to / "ledger")):
        for info in Storage().list(source.uri):
            path = folder / info.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Storage().read(source.address(info.key)))
    return _at(run, to, storage)


def _at(run: Run, to: Path, storage: Storage) -> Run:
    copy = on_storage(run, storage)
    object.__setattr__(copy, "release", Release(storage, str(to / "out")))
    object.__setattr__(copy, "ledger", Ledger(storage, str(to / "ledger")))
    return copy


def _comparable(run: Run) -> Any:
    rows = [{**row, "output": row["output"] and row["output"].partition("-v2-")[0]} for row in rows_of(run)]
    stats = json.loads((Path(run.release.uri) / "stats.json").read_text())
    version = json.loads((Path(run.release.uri) / "versions/2.json").read_text())
    names = sorted(key.partition("-v2-")[0] for key in files_of(run))
    return rows, names, {**stats, "timing": 0, "seconds": 0}, version["changes"], version["parts"]


def _die_everywhere(base: Path, layout: str, *, after: bool, every: int) -> None:
    run = _release(base, layout)
    recorder = DyingStorage(run.config.storage)
    whole = _copy(run, base / "whole", recorder)
    _patch(whole)
    expected, count = _comparable(whole), len(recorder.changes)
    assert count > 25
    assert [row["status"] for row in rows_of(whole)] == [
        "anonymized",
        "anonymized",
        "anonymized",
        "clean",
        "anonymized",
        "clean",
    ]
    for dies_at in range(1, count + 1, every):
        to = base / f"{dies_at}"
        dying = _copy(run, to, DyingStorage(run.config.storage, dies_at, after=after))
        with pytest.raises(Killed):
            _patch(dying)
        copy = _at(run, to, Storage(run.config.storage))
        begun = copy.ledger.version_in_the_making()
        if begun is not None and Release(copy.storage, copy.release.uri).version == 1:
            with pytest.raises(ResumeRefusedError, match="another `anon-batch patch` has begun version 2"):
                patch_release(copy, Ask(verdicts=True))
        _patch(copy)
        assert _comparable(copy) == expected, recorder.changes[dies_at - 1]
        assert verdict(copy).faults == []
        assert private_files(copy) == []
        assert _patch(copy).version is None


def test_a_patch_survives_a_death_at_some_changes(tmp_path: Path) -> None:
    _die_everywhere(tmp_path, "files", after=True, every=EVERY_QUICK)


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_a_patch_survives_a_death_at_every_change(layout: str, after: bool, tmp_path: Path) -> None:
    _die_everywhere(tmp_path, layout, after=after, every=1)


@pytest.mark.parametrize("when", ["before it does rows again", "after"])
def test_the_same_command_twice_at_once_makes_one_version(when: str, tmp_path: Path) -> None:
    run = _release(tmp_path, "webdataset")
    settings: dict[str, Any] = {"detect__detectors": ["manifest"]}
    done = []

    class Second(Here):
        def redo(self, staged: Any) -> None:
            if when == "after":
                super().redo(staged)
            done.append(patch_release(run, ASK, **settings))
            if when != "after":
                super().redo(staged)

    summary = patch_release(run, ASK, workers=Second(), **settings)
    assert (summary.version, done[0].version) == (2, 2)
    assert Release(Storage(), run.release.uri).version == 2
    assert verdict(run).faults == []
    assert private_files(run) == []


def test_no_other_command_goes_on_beside_a_patch(tmp_path: Path) -> None:
    run = _release(tmp_path, "files")

    class Dies(Here):
        def redo(self, staged: Any) -> None:
            raise Killed

    with pytest.raises(Killed):
        patch_release(run, ASK, workers=Dies(), detect__detectors=["manifest"])
    with pytest.raises(ResumeRefusedError, match="`anon-batch patch` has begun version 2"):
        open_run(run.config, ())
    assert _patch(run).version == 2
    assert verdict(run).faults == []
