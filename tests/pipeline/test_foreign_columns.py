"""Columns that describe other files are named with the setting that ignores them, instead of failing every row."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import image_bytes, job, release, verdict, write_dataset

from anon_batch.errors import ManifestError
from anon_batch.pipeline.run import Run, open_run

IDS = [f"{index}.png" for index in range(6)]
OTHER = hashlib.sha256(b"another file").hexdigest()


def _statuses(run: Run) -> set[str]:
    return set(pq.read_table(f"{run.release.uri}/provenance").column("status").to_pylist())


@pytest.mark.parametrize(("name", "values"), [("sha256", [OTHER] * 6), ("size_bytes", [7] * 6)])
def test_a_column_that_fits_no_image_refuses_the_run_and_the_setting_lets_it_pass(
    tmp_path: Path, name: str, values: list[Any]
) -> None:
    base = str(tmp_path)
    write_dataset(base, IDS, **{name: pa.array(values)})
    with pytest.raises(ManifestError) as caught:
        open_run(job(base), ())
    said = str(caught.value)
    assert f"column `{name}` describes other files: it fits none of the first 5 images (row 0: the column has" in said
    assert f"--set sources.columns.{name}=null" in said
    assert not (tmp_path / "out").exists()
    run = release(job(base, sources__columns={name: None}))
    assert _statuses(run) == {"anonymized", "clean"}
    assert verdict(run).faults == []


def test_the_column_can_be_kept_under_another_name(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS, length=pa.array([3, 4, 5, 6, 7, 8]))
    with pytest.raises(ManifestError, match=r"length without offset: rows 0.*(?s:.)*sources\.columns\.NAME: null"):
        open_run(job(str(tmp_path)), ())
    run = release(job(str(tmp_path), sources__columns={"length": "caption_length"}))
    assert pq.read_table(f"{run.release.uri}/provenance").column("caption_length").to_pylist() == [3, 4, 5, 6, 7, 8]


def test_another_name_can_stand_for_a_fixed_column(tmp_path: Path) -> None:
    digests = [hashlib.sha256(image_bytes(index)).hexdigest() for index in range(6)]
    write_dataset(str(tmp_path), IDS, sha256=pa.array([OTHER] * 6), file_sha=pa.array([OTHER, *digests[1:]]))
    run = release(job(str(tmp_path), sources__columns={"sha256": None, "file_sha": "sha256"}))
    reasons = pq.read_table(f"{run.release.uri}/provenance").column("reason").to_pylist()
    assert reasons == ["source_changed", None, None, None, None, None]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"sha26": None}, "no column `sha26` to rename or ignore; did you mean `sha256`"),
        ({"sha256": "uri"}, "column `uri` more than once"),
    ],
)
def test_a_setting_that_does_not_fit_the_manifest_is_refused(
    tmp_path: Path, columns: dict[str, str | None], said: str
) -> None:
    write_dataset(str(tmp_path), IDS, sha256=pa.array([OTHER] * 6))
    with pytest.raises(ManifestError, match=re.escape(said)):
        open_run(job(str(tmp_path), sources__columns=columns), ())


def test_a_few_changed_images_do_not_refuse_the_run(tmp_path: Path) -> None:
    digests = [hashlib.sha256(image_bytes(index)).hexdigest() for index in range(6)]
    write_dataset(str(tmp_path), IDS, sha256=pa.array([OTHER, OTHER, OTHER, OTHER, digests[4], None]))
    reasons = pq.read_table(f"{release(job(str(tmp_path))).release.uri}/provenance").column("reason").to_pylist()
    assert reasons == ["source_changed"] * 4 + [None, None]
