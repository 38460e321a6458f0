"""The recipe for DataComp, executed on a miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes import datacomp
from recipes.checks import check_image, check_leaks, check_rows
from recipes.cloud import Cloud
from recipes.commands import load
from recipes.hub import load_dataset
from tar_readers import read_tars

SHARDS = datacomp.SHARDS
PRIVATE = ("uid", "url", "exif", "sha256")


@pytest.mark.full
def test_datacomp(tmp_path: Path, cloud: Cloud) -> None:
    source = tmp_path / "made/my-datasets/datacomp"
    datacomp.write_datacomp(source)
    made = cloud.make("datacomp", tmp_path / "made")
    keys = [(shard, number) for shard, names in SHARDS.items() for number in range(len(names))]
    check_rows(made, [f"{shard}/{datacomp.key_of(shard, number)}.jpg" for shard, number in keys])
    records = [datacomp.record(*key) for key in keys]
    images = [datacomp.photograph(name) for names in SHARDS.values() for name in names]
    assert [len(row["regions"]) for row in made.manifest()] == [len(image.faces) for image in images]
    check_leaks(made, images, [datacomp.HOST, "5f2a", "Image Make", *(record["uid"] for record in records)])
    published = sorted((made.release / "shards").glob("*.tar"))
    assert [len(read_tars([tar])) for tar in published] == [len(names) for names in SHARDS.values()]
    samples = read_tars(published)
    assert [sample["__key__"] for sample in samples] == [datacomp.key_of(*key) for key in keys]
    for sample, record, image, row in zip(samples, records, images, made.rows(), strict=True):
        assert sample["txt"].decode() == record["caption"]
        kept = {name: value for name, value in record.items() if name not in PRIVATE}
        assert json.loads(sample["json"]) == kept
        check_image(image, sample["jpg"], row)
    assert load_dataset(made.release, tmp_path / "cache")["train"]["txt"][:] == [own["caption"] for own in records]
    [example] = load(made, tmp_path / "load")
    assert example.printed == [
        f"{record['key']} {image.size} {record['caption']} {record['original_width']}"
        for record, image in zip(records, images, strict=True)
    ]
