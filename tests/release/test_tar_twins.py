"""A release in the layout `webdataset` is a twin of its source for readers of WebDatasets, and a good one of any other source."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from pipeline_fixtures import job
from releases import RUN_KEY
from tar_readers import pixels, read_tars, read_wids, timm_wds
from twins import SPLITS, drawn, publish, write_folders, write_hub
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import UsageError
from anon_batch.formats.release import Release
from anon_batch.pipeline.run import open_run
from anon_batch.release.card.shard_index import describe_shards
from anon_batch.storage import Storage

COUNTS = {"train-0000": 5, "train-0001": 6, "val-0000": 3}
URL = "https://photos.example.org/users/jane.doe/4711.jpg"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EMAIL = "jane.doe@example.org"


def _write(path: Path, samples: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as sink:
        for sample in samples:
            sink.write(sample)


def _sample(number: int, key: str) -> dict[str, Any]:
    meta = {"caption": f"a tench no. {number}", "width": 9}
    return {
        "__key__": key,
        "jpg": drawn(number),
        "cls": str(number % 3).encode(),
        "txt": f"caption {number}\n".encode(),
        "json": json.dumps(meta).encode(),
        "caption": f"Bildtext {number} é".encode(),
    }


def write_tars(folder: Path) -> None:
    """Write shards whose keys start again in each, as those of many data sets do."""
    number = 0
    for name, count in COUNTS.items():
        samples = [_sample(number + at, f"{at:05d}") for at in range(count)]
        number += count
        _write(folder / f"{name}.tar", samples)


def tars(folder: Path, split: str = "") -> list[Path]:
    return sorted(folder.glob(f"{split}*.tar"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("sets")
    write_tars(base / "src")
    publish(base, base / "src", "webdataset", write__shards="source")
    return base


def check_equal(source: list[dict[str, Any]], twin: list[dict[str, Any]]) -> None:
    """Check keys, order, and each member of the source; images by their pixels."""
    assert [own["__key__"] for own in twin] == [own["__key__"] for own in source]
    for ours, own in zip(twin, source, strict=True):
        for name in own.keys() - {"__url__", "__key__", "__local_path__"}:
            if name.rpartition(".")[2] in ("jpg", "png"):
                assert np.array_equal(pixels(ours[name]), pixels(own[name]))
            else:
                assert ours[name] == own[name]


def test_keys_members_order_and_shards_are_the_sources(sets: Path) -> None:
    source, twin = tars(sets / "src"), tars(sets / "webdataset/shards")
    assert len(twin) == len(source)
    for ours, own in zip(twin, source, strict=True):
        check_equal(read_tars([own]), read_tars([ours]))
    [first, *_] = read_tars(twin)
    record = json.loads(first["jpg.json"])
    assert record["image_id"] == "train-0000/00000.jpg"
    assert record.keys() == {"image_id", "width", "height", "synthetic", "split"}


def test_the_last_shard_is_not_made_smaller_and_no_shard_is_by_rows(sets: Path) -> None:
    parts = Release(Storage(), str(sets / "webdataset")).parts()
    assert [spec.count for spec in parts] == list(COUNTS.values())
    record = Release(Storage(), str(sets / "webdataset")).read_run_json()
    assert record.source_shards == len(COUNTS)
    said = describe_shards(record, len(COUNTS))
    assert said in (sets / "webdataset/README.md").read_text()
    assert "divided" not in said
    assert describe_shards(record, 5) == (
        "The source has 3 shards. Some were divided, so that this release has 5, in the same order."
    )
    assert describe_shards(dataclasses.replace(record, source_shards=None), 5) == ""


def test_timm_finds_splits_lengths_and_classes(sets: Path) -> None:
    for split, ours in (("train", "train"), ("validation", "val")):
        found = timm_wds(sets / "webdataset", split)
        source = read_tars(tars(sets / "src", ours))
        assert found.num_samples == len(source)
        assert [label for _, label in found.samples] == [int(own["cls"]) for own in source]
        for (image, _), own in zip(found.samples, source, strict=True):
            assert np.array_equal(np.asarray(image), pixels(own["jpg"]))


def test_wids_finds_every_sample_by_the_index(sets: Path, tmp_path: Path) -> None:
    found = list(read_wids(sets / "webdataset/wids.json", tmp_path))
    source = read_tars(tars(sets / "src"))
    assert [own["__key__"] for own in found] == [own["__key__"] for own in source]
    assert [own[".cls"].read() for own in found] == [own["cls"] for own in source]
    assert [own["__dataset__"] for own in found] == ["train"] * 11 + ["validation"] * 3


def test_hugging_face_reads_the_same_from_both(sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    source, twin = (datasets.load_dataset(str(sets / name), cache_dir=str(tmp_path)) for name in ("src", "webdataset"))
    assert set(twin) == set(source) == {"train", "validation"}
    for split, rows in source.items():
        for name in ("__key__", "cls", "txt", "json", "caption"):
            assert twin[split][name][:] == rows[name][:], name
        for ours, own in zip(twin[split]["jpg"], rows["jpg"], strict=True):
            assert np.array_equal(np.asarray(ours), np.asarray(own))


def test_a_network_learns_the_same_from_both(sets: Path) -> None:
    def losses(folder: Path) -> list[float]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 40, 3))
        optimizer = torch.optim.SGD(network.parameters(), 1e-3)
        found = []
        for sample in read_tars(tars(folder, "0" if folder.name == "shards" else "")):
            image = torch.from_numpy(pixels(sample["jpg"]).copy()).permute(2, 0, 1)[None] / 255
            loss = torch.nn.functional.cross_entropy(network(image), torch.tensor([int(sample["cls"])]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    assert losses(sets / "webdataset/shards") == losses(sets / "src")


def test_keys_that_shards_of_rows_cannot_keep_carry_the_name_of_their_tar(sets: Path, tmp_path: Path) -> None:
    release = publish(tmp_path, sets / "src", "webdataset", engine__shard_rows=100)
    found = read_tars(tars(release / "shards"))
    source = read_tars(tars(sets / "src"))
    assert [own["cls"] for own in found] == [own["cls"] for own in source]
    assert {own["__key__"].rpartition("/")[2] for own in found} == {own["__key__"] for own in source}
    for tar in tars(release / "shards"):
        keys = [own["__key__"] for own in read_tars([tar])]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kept", ["source", "rows"])
def test_several_images_of_a_sample_stay_one_sample(tmp_path: Path, kept: str) -> None:
    views = {"left.jpg": drawn(1), "right.jpg": drawn(2), "mask.png": drawn(3, "PNG")}
    _write(tmp_path / "src/a.tar", [{"__key__": f"d/{n}", **views, "cls": b"1"} for n in range(3)])
    release = publish(tmp_path, tmp_path / "src", "webdataset", write__shards=kept)
    found = read_tars(tars(release / "shards"))
    check_equal(read_tars(tars(tmp_path / "src")), found)
    records = [json.loads(found[0][f"{name}.json"])["image_id"] for name in views]
    assert records == [f"a/d/0.{name}" for name in views]
    index = json.loads((release / "wids.json").read_bytes())
    assert [shard["nsamples"] for shard in index["shardlist"]] == ([3] if kept == "source" else [1, 1, 1])


def test_one_image_of_a_sample_is_erased_with_its_record_alone(tmp_path: Path) -> None:
    views = {"left.jpg": drawn(1), "right.jpg": drawn(2)}
    _write(tmp_path / "src/a.tar", [{"__key__": f"{n}", **views, "cls": b"1", "txt": b"t"} for n in range(3)])
    release = publish(tmp_path, tmp_path / "src", "webdataset")
    key = ["--sign-key", str(tmp_path / "sign")]
    done = CliRunner().invoke(app, ["erase", str(release), "--ids", "a/1.left.jpg", "--yes", *key])
    assert done.exit_code == 0, done.output
    checked = CliRunner().invoke(app, ["verify", str(release), "--key", str(tmp_path / "sign.pub")])
    assert checked.exit_code == 0, checked.output
    source, found = read_tars([tmp_path / "src/a.tar"]), read_tars(tars(release / "shards"))
    del source[1]["left.jpg"]
    check_equal(source, found)
    names = {"right.jpg", "right.jpg.json", "cls", "txt"}
    assert found[1].keys() - {"__key__", "__url__", "__local_path__"} == names
    assert [json.loads((release / name).read_bytes()) for name in ("_info.json", "wids.json")]
    assert b"a/1.left" not in b"".join(_decoded(path) for path in release.rglob("*") if path.is_file())


def test_texts_that_may_not_be_published_are_empty_in_every_sample(tmp_path: Path) -> None:
    samples = [_sample(n, f"{n:03d}") for n in range(30)]
    samples[1]["txt"] = f"write to {EMAIL}".encode()
    samples[2]["json"] = b"{broken"
    _write(tmp_path / "src/a.tar", samples)
    found = read_tars(tars(publish(tmp_path, tmp_path / "src", "webdataset") / "shards"))
    assert (found[1]["txt"], found[2]["json"]) == (b"", b"{}")
    assert len({frozenset(own) for own in found}) == 1
    check_equal(read_tars([tmp_path / "src/a.tar"])[3:], found[3:])


def test_a_tar_as_web_crawls_have_it_leaks_nothing(tmp_path: Path) -> None:
    samples = []
    for n in range(20):
        meta = {
            "url": f"{URL}?{n}",
            "sha256": SHA256,
            "email": EMAIL,
            "caption": "a red bus",
            "key": f"{n:09d}",
            "exif": "{}",
        }
        samples.append({"__key__": f"{n:09d}", "jpg": drawn(n), "json": json.dumps(meta).encode(), "txt": b"a red bus"})
        samples[-1] |= {
            "url": URL.encode(),
            "sha256": SHA256.encode(),
            "npy": b"\x93NUMPY",
            "caption": f"by {EMAIL}".encode(),
        }
    _write(tmp_path / "src/00000.tar", samples)
    release = publish(tmp_path, tmp_path / "src", "webdataset")
    found = read_tars(tars(release / "shards"))
    assert [json.loads(own["json"]) for own in found] == [
        {"caption": "a red bus", "key": f"{n:09d}"} for n in range(20)
    ]
    assert {name for own in found for name in own} == {
        "__key__",
        "__url__",
        "__local_path__",
        "jpg",
        "jpg.json",
        "json",
        "txt",
    }
    decoded = b"".join(_decoded(path) for path in release.rglob("*") if path.is_file())
    for secret in (URL, "jane", SHA256, EMAIL, "photos.example", str(tmp_path)):
        assert secret.encode() not in decoded, secret


def _open(base: Path, **settings: Any) -> Any:
    (base / "key").write_bytes(RUN_KEY)
    allow = {"detect__detectors": ["centerface"], "sources__allow": [str(base)]}
    return open_run(job(str(base), **allow, **settings), ())


def _decoded(path: Path) -> bytes:
    """Return the text of a public file: Parquet as JSON with its metadata, members of tars one by one."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return json.dumps([table.to_pylist(), str(table.schema)], default=str).encode()
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            return b"\n".join(info.name.encode() + b"\n" + tar.extractfile(info).read() for info in tar)  # type: ignore[union-attr]
    return path.read_bytes()


def test_folders_of_classes_become_a_webdataset_that_timm_reads(tmp_path: Path) -> None:
    write_folders(tmp_path / "src")
    release = publish(tmp_path, tmp_path / "src", "webdataset", gates__failed=0.5)
    found = timm_wds(release, "train")
    table = pq.read_table(release / "provenance").to_pandas()
    train = table[(table.split == "train") & table.output.notna()]
    assert [label for _, label in found.samples] == train.label.tolist()
    keys = [own["__key__"] for own in read_tars(tars(release / "shards"))]
    assert keys[0] == "test/n01 x/0"
    assert len(set(keys)) == len(keys)


def test_the_shards_of_a_table_are_kept_too(tmp_path: Path) -> None:
    write_hub(tmp_path / "src")
    release = publish(tmp_path, tmp_path / "src", "parquet", write__shards="source")
    counts = [pq.read_metadata(path).num_rows for path in sorted((release / "shards").glob("*.parquet"))]
    assert sorted(counts) == sorted(SPLITS.values())
    assert not (release / "_info.json").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"write__layout": "files"}, "`files` writes no shards"),
        ({"write__layout": "webdataset"}, "this source has none"),
    ],
)
def test_shards_of_the_source_are_refused_where_there_are_none(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    write_folders(tmp_path / "src")
    runner = CliRunner()
    assert runner.invoke(app, ["manifest", str(tmp_path / "src"), "-o", str(tmp_path / "m.parquet")]).exit_code == 0
    with pytest.raises(UsageError, match=said):
        _open(tmp_path, write__shards="source", **settings)
