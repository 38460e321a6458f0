"""Patches: only the rows that a change touches are done again, in every layout, and the release holds afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from patch_fixtures import Here, audit_of, files_of, images_of, patch_release, private_files, review, rows_of
from pipeline_fixtures import job, release, verdict, write_dataset

from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.pipeline.patch.job import Ask
from anon_batch.pipeline.run import Run

IDS = [f"a/{index}.png" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]
BOX = DrawnBox(14, 6, 22, 16)


@pytest.fixture(params=LAYOUTS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    return release(job(str(tmp_path), write__layout=request.param))


def test_drawn_boxes_end_in_regions_and_all_other_rows_stay(run: Run) -> None:
    before, images = rows_of(run), images_of(run)
    review(run, {IDS[1]: [BOX], IDS[4]: [BOX]})
    summary = patch_release(run, Ask(verdicts=True))
    assert (summary.version, dict(summary.touched)) == (2, {"verdict": 2})
    after = rows_of(run)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if index in (1, 4):
            assert new["status"] == "anonymized"
            region = new["regions"][-1]
            assert (
                region["x1"] <= BOX.x1 and region["y1"] <= BOX.y1 and region["x2"] >= BOX.x2 and region["y2"] >= BOX.y2
            )
            assert new["regions"][:-1] == old["regions"]
            assert images_of(run)[IDS[index]] != images[IDS[index]]
        else:
            assert {**old, "output": 0} == {**new, "output": 0}
            assert images_of(run)[IDS[index]] == images[IDS[index]]
    for with_ledger in (True, False):
        assert verdict(run, with_ledger=with_ledger).faults == []
    assert not any(images[IDS[1]] in data for data in files_of(run).values()), "the old image is gone"
    assert private_files(run) == []
    assert [own["detector"] for own in audit_of(run)[4]["detections"]] == ["manifest", "drawn"]
    again = patch_release(run, Ask(verdicts=True))
    assert (again.version, dict(again.touched)) == (None, {})
