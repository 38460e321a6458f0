"""One lane of tools that know nothing of this package: each opens the same signed releases of the sample photographs.

There is one release for each layout, of a source as the field has it: folders of classes, tars of a WebDataset, Parquet files of
a Hugging Face data set. `make open-with` runs the lane and fails where a program is missing. Because torchvision and timm are too
large to be installed for tests, `folder_readers` and `tar_readers` do what theirs do.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tar_readers
from croissant_reader import read_records
from document_blocks import ROOT, blocks
from external_data import needs_tool
from folder_readers import image_folder, timm_folder, timm_hub
from PIL import Image, ImageOps
from releases import environment, run_cli

PHOTOS = ROOT / "manifests/sample/photos"
CLASSES = ("people", "places")
LAYOUTS = ("files", "webdataset", "parquet")
MARK = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
# What exiftool says of pixels, of the file that holds them, and of nothing else.
_PLAIN = {"ExifTool", "System", "File", "Composite", "JFIF", "PNG", "PNG-pHYs", "IFD0"}
_PNG = {
    "ImageWidth",
    "ImageHeight",
    "BitDepth",
    "ColorType",
    "Compression",
    "Filter",
    "Interlace",
    "Gamma",
    "SRGBRendering",
}

pytestmark = pytest.mark.full
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


class Photo(NamedTuple):
    """A photograph of the sample in a split and a class; `data` is its file."""

    split: str
    label: str
    name: str
    data: bytes


def _photos() -> list[Photo]:
    """Every third photograph of a class is for validation; in the order in which folders are listed."""
    found = []
    for label in CLASSES:
        paths = sorted(path for path in (PHOTOS / label).rglob("*") if path.is_file())
        found += [
            Photo("validation" if at % 3 == 2 else "train", label, path.name, path.read_bytes())
            for at, path in enumerate(paths)
        ]
    return sorted(found, key=lambda photo: (photo.split, photo.label, photo.name))


@dataclass(frozen=True)
class Releases:
    """The releases by layout, and what all of them are checked with.

    Args:
        folder: holds a source and a release for each layout, and the keys.
        all_photos: of the sample, in order.
    """

    folder: Path
    all_photos: list[Photo]

    def photos(self, layout: str) -> list[Photo]:
        """Return the photographs of a layout: for tars the JPEGs alone, because Hugging Face wants samples of one kind."""
        return [photo for photo in self.all_photos if layout != "webdataset" or _suffix(photo) == "jpg"]

    def of(self, layout: str) -> Path:
        return self.folder / f"release-{layout}"

    def source(self, layout: str) -> Path:
        return self.folder / f"source-{layout}"

    def marked(self, layout: str) -> list[bool]:
        """Return of each row whether a model generated a part of the image: of all people, of few places, as a detector errs."""
        found = list(pd.read_parquet(self.of(layout) / "provenance").synthetic)
        assert all(found[at] for at, photo in enumerate(self.photos(layout)) if photo.label == "people")
        assert False in found
        return found

    def images(self, layout: str) -> list[tuple[str, bytes]]:
        """Return (name, file) of all published images in order, read without this package."""
        if layout == "files":
            below = self.of(layout) / "images"
            paths = sorted(path for path in below.rglob("*") if path.is_file() and path.suffix != ".parquet")
            return [(str(path.relative_to(below)), path.read_bytes()) for path in paths]
        found = []
        for path in sorted((self.of(layout) / "shards").glob("*.*")):
            if path.suffix == ".parquet":
                found += [(row["image_id"], row["image"]["bytes"]) for row in pq.read_table(path).to_pylist()]
            elif path.suffix == ".tar":
                with tarfile.open(path) as tar:
                    members = [(member.name, tar.extractfile(member)) for member in tar]
                    found += [(name, file.read()) for name, file in members if file and name.endswith((".jpg", ".png"))]
        return found


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Releases:
    """Make the releases by the commands that users type, evidence and report included."""
    folder = tmp_path_factory.mktemp("open with")
    made = Releases(folder, _photos())
    _write_folders(made)
    _write_tars(made)
    _write_hub(made)
    _command("keys", "new", "--sign", str(folder / "release.key"))
    for layout in LAYOUTS:
        source, output, manifest = made.source(layout), made.of(layout), folder / f"{layout}.parquet"
        _command("manifest", str(source), "-o", str(manifest))
        settings = f"write.layout={layout} engine.workers=2".split()
        sets = [word for setting in settings for word in ("--set", setting)]
        _command("run", "--manifest", str(manifest), "--output", str(output), "--address", ray_address, *sets)
        _command("evaluate", str(output))
        _command("report", str(output))
        _command("release", str(output), "--sign-key", str(folder / "release.key"))
        said = _command("verify", str(output), "--no-ledger", "--key", str(folder / "release.key.pub"))
        assert said.splitlines()[-1] == "verified"
    return made


def _command(*args: str) -> str:
    done = run_cli(*args)
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
    return done.stdout


def _write_folders(made: Releases) -> None:
    for photo in made.photos("files"):
        path = made.source("files") / photo.split / photo.label / photo.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.data)


def _write_tars(made: Releases) -> None:
    """Write a tar for each split with key, image, `.cls` and `.json`, and `_info.json` as timm reads it."""
    made.source("webdataset").mkdir()
    splits = {}
    for split in ("train", "validation"):
        own = [photo for photo in made.photos("webdataset") if photo.split == split]
        name = f"sample-{split}-0000.tar"
        with tarfile.open(made.source("webdataset") / name, "w") as tar:
            for at, photo in enumerate(own):
                members = {
                    _suffix(photo): photo.data,
                    "cls": str(CLASSES.index(photo.label)).encode(),
                    "json": json.dumps({"caption": f"{photo.label} {at}"}).encode(),
                }
                for kind, data in members.items():
                    info = tarfile.TarInfo(f"{split}_{at:06d}.{kind}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        splits[split] = {"name": split, "num_samples": len(own), "filenames": [name], "shard_lengths": [len(own)]}
    (made.source("webdataset") / "_info.json").write_text(json.dumps({"splits": splits}))


def _suffix(photo: Photo) -> str:
    return photo.name.rpartition(".")[2].lower()


def _write_hub(made: Releases) -> None:
    """Write Parquet files as `push_to_hub` does."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    (made.source("parquet") / "data").mkdir(parents=True)
    for split in ("train", "validation"):
        own = [photo for photo in made.photos("parquet") if photo.split == split]
        rows = {
            "image": [{"bytes": photo.data, "path": photo.name} for photo in own],
            "label": [CLASSES.index(photo.label) for photo in own],
        }
        path = made.source("parquet") / f"data/{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def _labels(made: Releases, layout: str, split: str) -> list[int]:
    return [CLASSES.index(photo.label) for photo in made.photos(layout) if photo.split == split]


def _pixels(data: bytes) -> np.ndarray[Any, Any]:
    """Return an image as viewers show it, turned by its orientation."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _size(data: bytes) -> tuple[int, int]:
    height, width, _ = _pixels(data).shape
    return width, height


# Hugging Face datasets


def test_datasets_loads_tars(releases: Releases, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.load_dataset(str(releases.of("webdataset")), cache_dir=str(tmp_path))
    assert set(dataset) == {"train", "validation"}
    for split, rows in dataset.items():
        assert [int(value) for value in rows["cls"]] == _labels(releases, "webdataset", split)
        sizes = [_size(photo.data) for photo in releases.photos("webdataset") if photo.split == split]
        assert [image.size for image in rows["jpg"]] == sizes


@pytest.mark.parametrize("layout", ["files", "parquet"])
def test_datasets_loads_splits_classes_and_order(releases: Releases, layout: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.load_dataset(str(releases.of(layout)), cache_dir=str(tmp_path))
    assert set(dataset) == {"train", "validation"}
    for split, rows in dataset.items():
        assert rows.features["label"].names == list(CLASSES)
        assert rows["label"] == _labels(releases, layout, split)
        sizes = [_size(photo.data) for photo in releases.photos(layout) if photo.split == split]
        assert [image.size for image in rows["image"]] == sizes


# Folders of classes


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("reader", [image_folder, timm_folder])
def test_torchvision_and_timm_read_folders_of_classes(releases: Releases, split: str, reader: Any) -> None:
    found = reader(releases.of("files") / "images" / split)
    assert found == reader(releases.source("files") / split)
    assert found.class_to_idx == {name: at for at, name in enumerate(CLASSES)}
    for path, _ in found.samples:
        with Image.open(releases.of("files") / "images" / split / path) as image:
            image.load()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_timm_reads_a_hugging_face_data_set(releases: Releases, split: str, tmp_path: Path) -> None:
    classes, samples = timm_hub(releases.of("parquet"), split, tmp_path)
    assert classes == {name: at for at, name in enumerate(CLASSES)}
    assert [label for _, label in samples] == _labels(releases, "parquet", split)


# WebDataset


def test_webdataset_reads_keys_and_members(releases: Releases) -> None:
    def read(folder: Path) -> list[dict[str, Any]]:
        return tar_readers.read_tars(sorted(folder.glob("*.tar")))

    before, after = read(releases.source("webdataset")), read(releases.of("webdataset") / "shards")
    assert [sample["__key__"] for sample in after] == [sample["__key__"] for sample in before]
    assert [sample["cls"] for sample in after] == [sample["cls"] for sample in before]
    for new, old in zip(after, before, strict=True):
        assert [kind for kind in new if kind in old] == list(old)
        assert [kind for kind in new if kind not in old] == [f"{kind}.json" for kind in ("jpg", "png") if kind in old]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_timm_reads_tars(releases: Releases, split: str) -> None:
    before = tar_readers.timm_wds(releases.source("webdataset"), split)
    after = tar_readers.timm_wds(releases.of("webdataset"), split)
    assert after.num_samples == before.num_samples == len(_labels(releases, "webdataset", split))
    assert [label for _, label in after.samples] == _labels(releases, "webdataset", split)
    sizes = [image.size for image, _ in before.samples]
    assert [image.size for image, _ in after.samples] == sizes


def test_wids_reads_tars(releases: Releases, tmp_path: Path) -> None:
    found = list(tar_readers.read_wids(releases.of("webdataset") / "wids.json", tmp_path))
    assert [sample["__key__"] for sample in found] == [
        name.partition(".")[0] for name, _ in releases.images("webdataset")
    ]


# Croissant


@each_layout
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant uses
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves closing its files to the collector
def test_mlcroissant_validates_and_loads(releases: Releases, layout: str, caplog: pytest.LogCaptureFixture) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    mlcroissant.Dataset(jsonld=str(releases.of(layout) / "croissant.json"))
    found = [line for message in caplog.messages for line in message.splitlines() if line.startswith("  -")]
    assert [line for line in found if "is recommended, but does not exist" not in line] == []
    assert len(read_records(releases.of(layout), "provenance")) == len(releases.photos(layout))
    assert len([row["images/image"] for row in read_records(releases.of(layout), "images")]) == len(
        releases.photos(layout)
    )


# pandas


@each_layout
def test_pandas_reads_every_table(releases: Releases, layout: str) -> None:
    rows = pd.read_parquet(releases.of(layout) / "provenance")
    assert len(rows) == len(releases.photos(layout))
    assert list(rows.status == "anonymized") == releases.marked(layout)
    assert set(rows.status) == {"anonymized", "clean"}
    assert list(rows.split) == [photo.split for photo in releases.photos(layout)]
    for path in [*releases.of(layout).glob("shards/*.parquet"), *releases.of(layout).glob("images/*.parquet")]:
        assert len(pd.read_parquet(path)) > 0


# exiftool


@each_layout
@needs_tool("exiftool", "libimage-exiftool-perl")
def test_exiftool_finds_pixels_and_the_mark(releases: Releases, layout: str, tmp_path: Path) -> None:
    for at, (name, data) in enumerate(releases.images(layout)):
        (tmp_path / f"{at:03d}{Path(name).suffix}").write_bytes(data)
    done = subprocess.run(
        ["exiftool", "-json", "-G1", "-r", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(releases.photos(layout))
    for tags, marked in zip(sorted(found, key=lambda own: own["SourceFile"]), releases.marked(layout), strict=True):
        own = {name: value for name, value in tags.items() if name != "SourceFile"}
        assert own.pop("XMP-iptcExt:DigitalSourceType", None) == (MARK if marked else None)
        assert {name.partition(":")[0] for name in own} <= _PLAIN, own
        assert {name.partition(":")[2] for name in own if name.startswith("PNG:")} <= _PNG, own
        assert {name.partition(":")[2] for name in own if name.startswith("IFD0:")} <= {"Orientation"}, own
        assert not [name for name in own if name.endswith((":Comment", ":Warning", ":Error"))], own


# openssl and sha256sum


@each_layout
@needs_tool("openssl", "openssl")
def test_openssl_verifies_the_signature_by_the_guide(releases: Releases, layout: str, tmp_path: Path) -> None:
    (tmp_path / "release").symlink_to(releases.of(layout))
    (tmp_path / "release.key.pub").symlink_to(releases.folder / "release.key.pub")
    [(page, code)] = blocks("signature by hand", "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True)
    [command] = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("openssl ")]
    for content, said in ((None, "Signature Verified Successfully"), (b"x", "Signature Verification Failure")):
        if content:
            (tmp_path / "signed").write_bytes((tmp_path / "signed").read_bytes() + content)
        done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said in done.stdout, done.stderr
        assert (done.returncode == 0) == (content is None)


@each_layout
def test_sha256sum_checks_every_file(releases: Releases, layout: str) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=releases.of(layout), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    named = {line.rpartition(": ")[0] for line in done.stdout.splitlines()}
    there = {str(path.relative_to(releases.of(layout))) for path in releases.of(layout).rglob("*") if path.is_file()}
    assert there - named == {"SHA256SUMS", "attestation.json"}


# What all of them opened


@each_layout
def test_only_pixels_in_regions_changed(releases: Releases, layout: str) -> None:
    said = _command("diff", str(releases.folder / f"{layout}.parquet"), str(releases.of(layout)))
    assert said.splitlines()[-1] == "only pixels inside the regions changed"


@each_layout
def test_faces_changed_and_nothing_else(releases: Releases, layout: str) -> None:
    """By Pillow and NumPy alone: images with a mark differ, clean ones hold the same pixels."""
    published = [_pixels(data) for _, data in releases.images(layout)]
    sources = [_pixels(photo.data) for photo in releases.photos(layout)]
    assert [a.shape for a in published] == [b.shape for b in sources]
    differ = [not np.array_equal(a, b) for a, b in zip(published, sources, strict=True)]
    assert differ == releases.marked(layout)
