"""Boxes in the wrong scale: single rows are withheld, and a manifest of them is refused before it starts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_fixtures import image_bytes, job, release, write_dataset
from releases import release_of

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.manifest.build import build_manifest
from anon_batch.pipeline.run import open_run
from anon_batch.storage import Storage, join

GOOD = (4.0, 4.0, 12.0, 12.0)  # images are 24 x 20 px
FACES = pa.list_(pa.struct([*((n, pa.float64()) for n in ("x1", "y1", "x2", "y2")), ("keep", pa.bool_())]))


def _dataset(base: str, boxes: list[list[tuple[float, ...]]], keep: bool = False) -> None:
    rows = [[dict(zip(("x1", "y1", "x2", "y2"), box, strict=True), keep=keep) for box in own] for own in boxes]
    ids = [f"{n:03}.png" for n in range(len(boxes))]
    write_dataset(base, ids, regions=pa.array(rows, FACES))
    table = pq.read_table(io.BytesIO(Storage().read(join(base, "m.parquet")))).drop_columns("faces")
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    Storage().put(join(base, "m.parquet"), buffer.getvalue())


def _rows(base: str, **keys: object) -> list[tuple[str, str | None]]:
    run = release(job(base, **keys))
    return [(row["status"], row["reason"]) for row in release_of(Storage(), run.release.uri)["rows"]]


NAN = float("nan")
BAD = [
    *[(0.2, 0.2, 0.6, 0.6), (16.0, 16.0, 48.0, 48.0), (30.0, 1.0, 40.0, 9.0), (5.0, 5.0, 5.0, 9.0)],
    *[(5.0, 5.0, 6.0, 6.0), (NAN, 0.0, 9.0, 9.0), (12.0, 12.0, 4.0, 4.0), (0.0, 0.0, float("inf"), 9.0)],
]


def test_rows_with_a_box_that_cannot_be_right_are_withheld_and_the_others_anonymized(tmp_path: Path) -> None:
    base = str(tmp_path)
    boxes = [[GOOD] for _ in range(9 * len(BAD))] + [[GOOD, box] for box in BAD]
    _dataset(base, boxes)
    rows = _rows(base)
    assert rows[: -len(BAD)] == [("anonymized", None)] * (9 * len(BAD))
    assert rows[-len(BAD) :] == [("withheld", "bad_box")] * len(BAD)


def test_few_rows_are_withheld_one_by_one(tmp_path: Path) -> None:
    base = str(tmp_path)
    _dataset(base, [[GOOD], [(0.1, 0.1, 0.9, 0.9)], []])
    assert _rows(base) == [("anonymized", None), ("withheld", "bad_box"), ("clean", None)]


@pytest.mark.parametrize(
    ("scale", "says"), [(4.0, "outside"), (1 / 24, "shares"), (0.1, "less than 4 square px"), (0.5, "corner|quarter")]
)
def test_a_manifest_in_another_scale_is_refused_before_any_work(tmp_path: Path, scale: float, says: str) -> None:
    base = str(tmp_path)
    spread = [(8.0, 8.0, 20.0, 18.0) if n % 2 else (4.0, 2.0, 22.0, 19.0) for n in range(30)]
    _dataset(base, [[tuple(scale * v for v in box)] for box in spread])
    with pytest.raises(ManifestError, match=says) as caught:
        _rows(base)
    assert "detect.trust_boxes" in str(caught.value)
    assert not list(Storage().list(join(base, "out")))


def test_more_than_a_tenth_is_refused_and_a_tenth_is_not(tmp_path: Path) -> None:
    base = str(tmp_path)
    _dataset(base, [[GOOD]] * 18 + [[(900.0, 900.0, 990.0, 990.0)]] * 2)
    assert _rows(base).count(("withheld", "bad_box")) == 2
    base = str(tmp_path / "more")
    _dataset(base, [[GOOD]] * 17 + [[(900.0, 900.0, 990.0, 990.0)]] * 3)
    with pytest.raises(ManifestError, match=r"3 of 20 rows checked.*\n  row 17: box 1 of 1, \[900"):
        _rows(base)
    rows = _rows(base, detect__trust_boxes=True)
    assert rows.count(("withheld", "bad_box")) == 3


def test_boxes_to_keep_are_checked_with_every_detector(tmp_path: Path) -> None:
    base = str(tmp_path)
    _dataset(base, [[GOOD], [(30.0, 1.0, 40.0, 9.0)]], keep=True)
    rows = _rows(base)
    assert rows == [("clean", None), ("withheld", "bad_box")]


def _coco(tmp_path: Path, size: tuple[int, int], exif: int = 0) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 200, (20, 24, 3), dtype=np.uint8)
    tags = Image.Exif()
    if exif:
        tags[274] = exif
    Image.fromarray(pixels).save(folder / "a.jpg", exif=tags)
    (folder / "b.png").write_bytes(image_bytes(2))
    truth = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]},
            {"id": 2, "file_name": "b.png"},
        ],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 8, 8]} for i in (1, 2)],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(truth))
    manifest = str(tmp_path / "m.parquet")
    build_manifest(Storage(), [str(folder)], manifest, ground_truth=str(tmp_path / "coco.json"))
    (tmp_path / "key").write_bytes(bytes(range(32)))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("size", "exif", "first"),
    [
        ((24, 20), 0, ("anonymized", None)),
        ((48, 40), 0, ("withheld", "bad_box")),
        ((20, 24), 6, ("anonymized", None)),  # upright
        ((24, 20), 6, ("withheld", "bad_box")),  # before its orientation
    ],
)
def test_the_sizes_in_coco_are_compared_with_the_images(
    tmp_path: Path, size: tuple[int, int], exif: int, first: tuple[str, str | None]
) -> None:
    assert _rows(_coco(tmp_path, size, exif)) == [first, ("anonymized", None)]


def test_sources_whose_size_cannot_be_read_do_not_stop_the_check(tmp_path: Path) -> None:
    base = str(tmp_path)
    _dataset(base, [[GOOD]] * 12)
    for at, data in enumerate([b"", b"no image", b"\xff\xd8\xff", b"II*\0", None]):
        uri = join(base, f"src/{at:03}.png")
        Storage().delete(uri) if data is None else Storage().put(uri, data)
    rows = _rows(base)
    assert [status for status, _ in rows] == ["failed"] * 5 + ["anonymized"] * 7


def test_no_more_sources_are_read_once_a_batch_of_them_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = str(tmp_path)
    _dataset(base, [[GOOD]] * 40)
    reads: list[str] = []

    def read(self: Storage, uri: str, *given: object) -> bytes:
        if "/src/" in uri:
            reads.append(uri)
            raise ObjectNotFoundError("gone", uri)
        return real(self, uri, *given)

    real = Storage.read
    monkeypatch.setattr(Storage, "read", read)
    open_run(job(base), ())
    assert len(reads) == 8
