"""The card and the columns of a release: loaders read it without documentation, and nothing in it is active or private."""

from __future__ import annotations

import gc
import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from croissant_reader import read_records
from leaks import assert_public, secrets_of
from pipeline_fixtures import job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.formats.release import Release
from anon_batch.release.card.card import render_card
from anon_batch.release.report.finished import read_finished
from anon_batch.storage import Storage

IDS = [f"{'cat' if n % 2 else 'dog'}/{n}.png" for n in range(6)]
LABELS = [n % 2 for n in range(6)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    write_dataset(
        str(folder),
        IDS,
        label=pa.array(LABELS),
        extra={"a|`b`<i>": pa.array(["x"] * 6), "md5": pa.array(["0" * 32] * 6)},
    )
    (folder / "src/cat/5.png").write_bytes(b"no image")
    assert CliRunner().invoke(app, ["keys", "new", "--sign", str(folder / "sign")]).exit_code == 0
    for layout in ("files", "webdataset", "parquet"):
        release(job(str(folder), layout, write__layout=layout, gates__failed=0.5))
        done = CliRunner().invoke(app, ["release", str(folder / layout), "--sign-key", str(folder / "sign")])
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("layout", ["files", "parquet"])
def test_hugging_face_loads_it_with_its_columns(base, layout, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(base / layout), cache_dir=str(tmp_path))
    assert list(found) == ["train"]
    rows = found["train"]
    assert rows["image_id"] == IDS[:5]
    assert rows["label"] == LABELS[:5]
    assert [image.size for image in rows["image"]] == [(24, 20)] * 5
    if layout == "parquet":
        provenance = datasets.load_dataset(str(base / layout), "provenance", cache_dir=str(tmp_path))["train"]
        assert provenance["status"][-1] == "failed"


def test_hugging_face_and_webdataset_load_tars(base, tmp_path):
    datasets = pytest.importorskip("datasets")
    webdataset = pytest.importorskip("webdataset")
    rows = datasets.load_dataset(str(base / "webdataset"), cache_dir=str(tmp_path))["train"]
    assert [row["json"]["image_id"] for row in rows] == IDS[:5]
    tars = sorted(str(path) for path in (base / "webdataset/shards").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves closing its files to the collector
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"))
        gc.collect()
    assert [sample["json"]["label"] for sample in samples] == LABELS[:5]
    assert all(isinstance(sample["png"], np.ndarray) for sample in samples)


def test_every_image_has_a_row_of_metadata(base):
    table = pq.read_table(base / "files/images/metadata.parquet")
    assert table.column("file_name").to_pylist() == IDS[:5]
    assert set(table.column_names) == {"file_name", "image_id", "synthetic", "label", "a|`b`<i>"}


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_the_card_is_part_of_the_release_and_signed(base, layout, tmp_path):
    shutil.copytree(base / layout, tmp_path / "o")
    verify = ["verify", str(tmp_path / "o"), "--no-ledger", "--key", str(base / "sign.pub")]
    assert CliRunner().invoke(app, verify).exit_code == 0
    for name in ("README.md", "images/metadata.parquet"):
        path = tmp_path / "o" / name
        if path.exists():
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            done = CliRunner().invoke(app, verify)
            assert done.exit_code == 3
            assert f"{name}: changed since the release was signed" in done.output
            path.write_bytes(content)


def test_names_of_users_are_shown_as_text(base):
    text = (base / "files/README.md").read_text()
    head, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert (head, yaml.safe_load(front)["configs"][0]["config_name"]) == ("", "default")
    assert "\n---" not in body
    assert "a\\|\\`b\\`\\<i\\>" in body
    assert "md5 (" in body


def test_the_card_says_what_was_done(base):
    text = (base / "files/README.md").read_text()
    assert "5 images, anonymized with anon-batch" in text
    assert "| failed | 1 | 16.7 % |" in text
    assert "| solid | 3 |" in text
    assert "anonymous" not in re.sub(r"That the release is “anonymous”", "", text)


def test_the_same_release_gives_the_same_card(base):
    finished = read_finished(Release(Storage(), str(base / "files")))
    assert render_card(finished).encode() == (base / "files/README.md").read_bytes()


def test_card_and_metadata_hold_nothing_of_the_sources(base):
    secrets = secrets_of(list((base / "src").rglob("*.png")), Path(f"{base}/files-ledger"))
    for path in (
        base / "files/README.md",
        base / "files/images/metadata.parquet",
        base / "files/croissant.json",
        base / "files/attestation.json",
        base / "files/risk.json",
        base / "files/risk.md",
        base / "files/licences.json",
    ):
        assert_public(path.read_bytes(), secrets)


def test_signing_the_same_state_again_gives_the_same_files(base, tmp_path):
    shutil.copytree(base / "files", tmp_path / "files")
    shutil.copytree(base / "files-ledger", tmp_path / "files-ledger")
    before = {path: path.read_bytes() for path in (tmp_path / "files").rglob("*") if path.is_file()}
    assert (
        CliRunner().invoke(app, ["release", str(tmp_path / "files"), "--sign-key", str(base / "sign")]).exit_code == 0
    )
    assert {path: path.read_bytes() for path in (tmp_path / "files").rglob("*") if path.is_file()} == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant uses
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_mlcroissant_validates_it_and_loads_images_and_provenance(base, layout, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")
    mlcroissant.Dataset(jsonld=str(base / layout / "croissant.json"))
    found = [line for message in caplog.messages for line in message.splitlines() if line.startswith("  -")]
    # What only the owner knows: licence, citation, date of publication.
    assert [line for line in found if "is recommended, but does not exist" not in line] == []
    rows = read_records(base / layout, "provenance")
    assert [row["provenance/image_id"].decode() for row in rows] == IDS
    images = read_records(base / layout, "images")
    assert len(images) == 5
    assert {row["images/image"].size for row in images} == {(24, 20)}


def test_numbers_of_croissant_are_those_of_the_statistics(base):
    stats = json.loads((base / "files/stats.json").read_bytes())
    content = json.loads((base / "files/croissant.json").read_bytes())
    assert content["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    assert content["rai:dataManipulationProtocol"].startswith(f"{stats['regions_anonymized']} regions in 5 images. ")
    assert content["rai:dataCollectionMissingData"].startswith("0 withheld, 1 failed of 6 rows")
    assert "src" not in json.dumps(content)
