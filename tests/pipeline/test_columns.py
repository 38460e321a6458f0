"""Pass-through columns of known datasets in every layout: nothing that leads to a source is in any public file."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import image_bytes, job, release, write_dataset
from releases import RUN_KEY, release_of

from anon_batch.errors import ConfigError, ResumeRefusedError
from anon_batch.formats import layout as places
from anon_batch.manifest.build import build_manifest
from anon_batch.pipeline.run import open_run
from anon_batch.release.report.compute import compute_report
from anon_batch.release.report.finished import read_finished
from anon_batch.release.report.page import render
from anon_batch.storage import Storage, join

CANARIES = ("canary-host", "CANARYMAKE", "canary@", f"{'c0ffee' * 10}0001", "52.123456")


def _img2dataset(n: int) -> dict[str, Any]:
    return {
        "caption": f"a cat, number {n}",
        "url": f"https://canary-host/{n}.jpg?token=x",
        "key": f"{n:09}",
        "status": "success",
        "error_message": None,
        "original_width": 480,
        "exif": json.dumps({"Image Make": "CANARYMAKE", "GPS GPSLatitude": "52.123456"}),
        "sha256": f"{'c0ffee' * 10}0001",
        "contact": "canary@example.com",
    }


def _tar(folder: Path, count: int) -> str:
    with tarfile.open(folder / "0000.tar", "w") as tar:
        for n in range(count):
            members = {
                "jpg": image_bytes(n, "JPEG"),
                "json": json.dumps(_img2dataset(n)).encode(),
                "cls": b"%d" % (n % 3),
            }
            for extension, data in {**members, "txt": f"caption {n}".encode()}.items():
                info = tarfile.TarInfo(f"{n:09}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(folder / "0000.tar")


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_no_canary_of_an_img2dataset_tar_is_in_a_public_file(tmp_path: Path, layout: str) -> None:
    build_manifest(Storage(), [_tar(tmp_path, 6)], str(tmp_path / "m.parquet"))
    manifest = pq.read_table(tmp_path / "m.parquet")
    regions = pa.array([[]] * 6, manifest.schema.field("regions").type)
    at = manifest.column_names.index("regions")
    pq.write_table(manifest.set_column(at, "regions", regions), tmp_path / "m.parquet")
    (tmp_path / "key").write_bytes(RUN_KEY)
    run = release(job(str(tmp_path), write__layout=layout))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    rows = release_of(Storage(), run.release.uri)["rows"]
    assert json.loads(rows[3]["json"]) == {
        "caption": "a cat, number 3",
        "key": "000000003",
        "status": "success",
        "error_message": None,
        "original_width": 480,
    }
    assert (rows[3]["cls"], rows[3]["txt"]) == ("0", "caption 3")
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".parquet":  # its pages are compressed
            data += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        assert [canary for canary in CANARIES if canary.encode() in data] == [], path


URLS = [f"https://canary-host/{n}" for n in range(5)]


def test_run_json_and_the_report_say_what_is_not_published(tmp_path: Path) -> None:
    base = str(tmp_path)
    captions = pa.array([f"cat {n}" for n in range(39)] + ["mail canary@example.com"])
    write_dataset(base, [f"{n}.png" for n in range(40)], {"origin": pa.array(URLS * 8), "caption": captions})
    run = release(job(base))
    record = run.release.read_run_json()
    assert record.columns == {
        "published": ["caption"],
        "withheld": {"origin": "address"},
        "blanked": {"caption": {"contact": 1}},
        "features": {"caption": {"dtype": "string", "_type": "Value"}},
    }
    assert record.config["publish"] == {"columns": []}
    finished = read_finished(run.release)
    page = render(compute_report(finished, None))
    assert re.search(r"<code>origin</code></th><td[^>]*>address", page)
    assert re.search(r"<code>caption</code></th><td[^>]*>contact", page)
    assert "canary" not in page
    rows = release_of(Storage(), run.release.uri)["rows"]
    assert [row["caption"] for row in rows[38:]] == ["cat 38", None]


def test_what_the_job_lists_is_published(tmp_path: Path) -> None:
    base = str(tmp_path)
    write_dataset(base, [f"{n}.png" for n in range(5)], {"origin": pa.array(URLS)})
    run = release(job(base, publish__columns=["origin"]))
    assert [row["origin"] for row in release_of(Storage(), run.release.uri)["rows"]] == URLS
    with pytest.raises(ConfigError, match=r"`orign`; did you mean `origin`\?"):
        open_run(job(base, "other", publish__columns=["orign"]), ())
    assert not Storage().exists(join(base, f"other/{places.RUN}"))


def test_the_ledger_that_workers_read_holds_nothing_withheld_and_a_resume_needs_the_same_list(tmp_path: Path) -> None:
    base = str(tmp_path)
    write_dataset(base, [f"{n}.png" for n in range(5)], {"origin": pa.array(URLS)})
    run, _ = open_run(job(base), ())
    assert run.planned_rows().extra_schema.names == []
    assert open_run(job(base), ())[1]
    with pytest.raises(ResumeRefusedError, match=r"publish\.columns"):
        open_run(job(base, publish__columns=["origin"]), ())


def test_a_sample_of_the_rows_publishes_the_same_columns(tmp_path: Path) -> None:
    base = str(tmp_path)
    mixed = [f"plain {n}" for n in range(30)] + URLS
    write_dataset(base, [f"{n}.png" for n in range(35)], {"origin": pa.array(mixed)})
    for limit in (1, 5, None):
        run, _ = open_run(job(base, f"out{limit}", sample__limit=limit), ())
        assert run.plan.columns["withheld"] == {"origin": "address"}
