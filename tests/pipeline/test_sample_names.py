"""Keys of samples: the source's where they are unique and safe, and never one key for two samples."""

from __future__ import annotations

import posixpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.config import WriteConfig
from anon_batch.formats.tar_shard import LONGEST_SUFFIX, Sample, fits_header, read_samples, write_samples
from anon_batch.manifest.names import is_safe
from anon_batch.pipeline.sample_names import SampleNames, path_in_tar
from anon_batch.records import ManifestRow

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def _rows(*images: tuple[str, str] | str) -> list[ManifestRow]:
    """Return rows of (id, address of the tar), or of ids of files."""
    pairs = [(image, "/src/x.jpg") if isinstance(image, str) else image for image in images]
    return [
        ManifestRow(at, image_id, uri, *((512, 1) if uri.endswith(".tar") else (None, None)))
        for at, (image_id, uri) in enumerate(pairs)
    ]


def _names(rows: list[ManifestRow], image_format: Any = "keep") -> list[str]:
    names = SampleNames(rows, WriteConfig(layout="webdataset", format=image_format))
    return [names.image(row, "JPEG" if image_format == "jpeg" else _format(row)) for row in rows]


def _format(row: ManifestRow) -> str:
    return FORMATS.get(posixpath.splitext(row.image_id)[1].lower(), "JPEG")


def _in(tar: str, *members: str) -> list[tuple[str, str]]:
    return [(f"{tar}/{member}", f"s3://b/set/{tar}.tar") for member in members]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (_in("s-0", "000.jpg", "d/001.JPEG"), ["000.jpg", "d/001.JPEG"]),
        (_in("a/s-0", "000.jpg"), ["000.jpg"]),
        (_in("s", "s/s/0.jpg"), ["s/s/0.jpg"]),
        (_in("s", "x.left.jpg", "x.right.jpg", "y.left.jpg"), ["x.left.jpg", "x.right.jpg", "y.left.jpg"]),
        (_in("s", "x.jpg", "x.png"), ["x.jpg", "x.png"]),  # an image and its mask
        (_in("s", "x.jpg", "y.jpg", "x.png"), ["row-0000000000.jpg", "y.jpg", "row-0000000002.png"]),
        (_in("s", "x.jpg", "x.JPG"), ["row-0000000000.jpg", "row-0000000001.JPG"]),
        (_in("a", "0.jpg") + _in("b", "0.jpg"), ["a/0.jpg", "b/0.jpg"]),
        (_in("a", "0.jpg", "1.jpg") + _in("b", "0.jpg"), ["a/0.jpg", "1.jpg", "b/0.jpg"]),
        (_in("a", "b/0.jpg", "__x__/1.jpg"), ["b/0.jpg", "a/__x__/1.jpg"]),
        (["n01/n01_1.JPEG", "n01/n01_2.JPEG"], ["n01/n01_1.jpg", "n01/n01_2.jpg"]),
        (["a.v1.jpg", "a.v2.jpg"], ["a_v1.jpg", "a_v2.jpg"]),
        (["a.v1.jpg", "a_v1.jpg"], ["row-0000000000.jpg", "row-0000000001.jpg"]),
        (["a.jpg", "a.png"], ["a_jpg.jpg", "a_png.png"]),
        (["row-0000000001.jpg", "__x__.jpg"], ["row-0000000001.jpg", "row-0000000001_.jpg"]),
        (["d/__a.jpg", "d/.b.jpg"], ["row-0000000000.jpg", "d/_b.jpg"]),  # `datasets` would skip the first
        (_in("s", "d/__a.jpg", "__d/a.jpg"), ["row-0000000000.jpg", "__d/a.jpg"]),
        ([f"{'f' * 200}.jpg", f"{'d/' * 60}{'g' * 60}.jpg"], ["row-0000000000.jpg", f"{'d/' * 60}{'g' * 60}.jpg"]),
        (["noname"], ["noname.jpg"]),
        (_in("s", *(f"c.{n}.jpg" for n in range(101))), [f"c_{n}.jpg" for n in range(101)]),  # frames of a clip
    ],
)  # fmt: skip
def test_names(images: list[Any], expected: list[str]) -> None:
    assert _names(_rows(*images)) == expected


def test_a_fixed_format_keeps_what_stands_before_the_suffix() -> None:
    rows = _rows(*_in("s", "x.left.png", "x.right.PNG", "y.png"), "f.png")
    assert _names(rows, "jpeg") == ["x.left.jpg", "x.right.jpg", "y.jpg", "f.jpg"]
    rows = _rows(*_in("s", "x.jpg", "x.png"))  # which would have one name
    assert _names(rows, "jpeg") == ["row-0000000000.jpg", "row-0000000001.jpg"]


def test_keys_of_a_table_that_was_made_from_a_webdataset_are_kept() -> None:
    rows = [
        ManifestRow(at, f"id{at}.jpg", f"/t.parquet#row={at}", extra={"__key__": key}) for at, key in enumerate("aba")
    ]
    rows.append(ManifestRow(3, "id3.jpg", "/t", extra={"__key__": "../up"}))
    assert _names(rows) == ["id0_jpg.jpg", "b.jpg", "id2_jpg.jpg", "id3_jpg.jpg"]


def test_the_path_in_a_tar_is_the_id_without_the_path_of_the_tar() -> None:
    assert path_in_tar("set/a/0/1.jpg", "/data/set/a/0.tar") == "1.jpg"
    assert path_in_tar("n01/1.jpg", "/data/train.tar") == "n01/1.jpg"
    assert path_in_tar("0/1.jpg", "0.tar") == "1.jpg"


SEGMENTS = st.sampled_from(["a", "b", "s", "a.b", "a_b", "__x__", "row-0000000001", ".h", "é", "k" * 99])
MEMBERS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
IMAGES = st.tuples(
    MEMBERS, st.sampled_from(["", ".left", ".v" * 40, "." + "w" * 61]), st.sampled_from([".jpg", ".JPG", ".png"])
).map("".join)
TARS = st.sampled_from(["a", "b", "s/a", ""])


@given(st.lists(st.tuples(TARS, IMAGES), unique=True, max_size=12), st.sampled_from(["keep", "jpeg"]))
def test_no_two_samples_are_joined_and_no_image_is_lost(images: list[tuple[str, str]], image_format: Any) -> None:
    rows = _rows(*((f"{tar}/{name}", f"/src/{tar}.tar") if tar else name for tar, name in images))
    rows = [row for row in rows if is_safe(row.image_id)]
    write = WriteConfig(layout="webdataset", format=image_format)
    names = SampleNames(rows, write)
    images_of = [names.image(row, _format(row)) for row in rows]
    samples = [
        Sample(names.key(row), ((name, str(row.index).encode()),)) for row, name in zip(rows, images_of, strict=True)
    ]
    assert all(fits_header(name + LONGEST_SUFFIX) for name in images_of)
    found = list(read_samples(write_samples(samples)))
    assert [data for sample in found for _, data in sample.members] == [str(row.index).encode() for row in rows]
    assert len({sample.key for sample in found}) == len(found)
    uris = {str(row.index).encode(): row.uri for row in rows}
    assert all(len({uris[data] for _, data in sample.members}) == 1 for sample in found)
