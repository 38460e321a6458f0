"""Ids and addresses with every legal special character: images keep their names, and verify finds them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pipeline_fixtures import FACES, image_bytes, job, release, verdict, write_dataset
from releases import release_of

from anon_batch.manifest.addresses import parse_cell
from anon_batch.storage import Storage, join

IDS = [
    "with space/and  two .png",
    "quote'\"`.png",
    "hash#1.png",
    "a#column=image.png",
    "per%20cent%.png",
    "question?mark=1&b.png",
    "star*[brackets]{a,b}.png",
    "ünï/日本語/🙂.png",
    "e\u0301.png",
    "\u00e9.png",
    "rtl\u202egnp.png",
    "dash -rf.png",
    "-rf.png",
    "$HOME;rm.png",
    "a|b>c.png",
    "Case.png",
    "case.png",
    "CASE/x.png",
    "case.PNG",
    "dots...png",
    "trailing. /x .png",
    "no suffix",
    "ee:colon.txt",
    "x" * 240 + ".png",
    "/".join(["y" * 90] * 9) + ".png",
    "tilde~.png",
    "a/~b.png",
    "nbsp\u00a0.png",
    "\ufeffbom.png",
]


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
@pytest.mark.parametrize("place", ["local", "memory"])
def test_every_legal_id_is_the_name_of_its_image(tmp_path: Path, place: str, layout: str) -> None:
    base = str(tmp_path) if place == "local" else f"memory://{tmp_path.name}"
    write_dataset(base, IDS, label=pa.array(IDS))
    run = release(job(base, "out put#%", write__layout=layout, publish__columns=["label"]))
    result = verdict(run)
    assert result.faults == []
    assert result.statuses == {"anonymized": 15, "clean": 14}
    rows = release_of(Storage(), run.release.uri)["rows"]
    assert [row["image_id"] for row in rows] == IDS == [row["label"] for row in rows]
    if layout == "files":
        assert {row["output"] for row in rows} == {
            f"images/{i}" if "." in i and not i.endswith(".txt") else f"images/{i}.png" for i in IDS
        }
        first = np.asarray(Image.open(io.BytesIO(Storage().read(join(run.release.uri, f"images/{IDS[0]}")))))
        assert (first[5:11, 5:11] == 0).all()


def test_files_are_read_whose_names_contain_a_hash_sign_or_look_like_cells(tmp_path: Path) -> None:
    names = ["a#b.png", "c.png#column", "d#column=x&row=z.png"]
    for name in names:
        (tmp_path / name).write_bytes(image_bytes())
        assert parse_cell(str(tmp_path / name)) is None
    write_dataset(str(tmp_path), ["1.png", "2.png", "3.png"], uri=pa.array([str(tmp_path / name) for name in names]))
    run = release(job(str(tmp_path)))
    assert verdict(run).statuses == {"anonymized": 2, "clean": 1}


def test_sources_that_are_not_files_fail_only_their_rows(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "good.png").write_bytes(image_bytes())
    uris = [
        str(tmp_path / n)
        for n in ("folder.png", "good.png", "loop.png", "none.png", "x" * 300, "good.png/inside", "nul\0.png")
    ]
    uris += [
        "nothing://a/b",
        "http://",
        "memory://",
        f"{tmp_path}/m.parquet#column=image&row=0",
        f"{tmp_path}/m.parquet#column=uri&row=0",
    ]
    ids = [f"{n}.png" for n in range(len(uris))]
    write_dataset(str(tmp_path), ids, uri=pa.array(uris), faces=pa.array([[]] * len(uris), FACES))
    run = release(job(str(tmp_path), engine__attempts=1, engine__shard_rows=1))
    rows = release_of(Storage(), run.release.uri)["rows"]
    assert [row["status"] for row in rows] == ["failed", "clean", *["failed"] * 10], [r["reason"] for r in rows]
    assert verdict(run).faults == []
