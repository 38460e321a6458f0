"""Sets of pictures: copies, labels, photographs without faces and of 12 megapixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anon_batch.manifest.ground_truth import read_ground_truth
from anon_batch.records import Detections
from anon_batch.storage import Storage
from benchmarks import accuracy, pictures, variants
from benchmarks.pictures import NoPhotographsError, Source

COUNT = 8


def _face(*box: float, ignore: float = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[*box, ignore]], np.float32)


def test_every_copy_has_a_name_and_the_photographs_bytes(photos: list[Source], tmp_path: Path) -> None:
    originals = pictures.repeat(photos, tmp_path / "pictures", COUNT)
    files = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in files] == sorted(originals)
    assert len(files) == COUNT
    assert all(path.read_bytes() == originals[path.name].path.read_bytes() for path in files)


def test_photographs_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    for folder, color in (("a", "red"), ("b", "blue")):
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8), color).save(tmp_path / "in" / folder / "x.jpg")
    labels = tmp_path / "labels.json"
    labels.write_text('{"a/x.jpg": [[1, 1, 5, 5]]}')
    found = pictures.find_photographs(tmp_path / "in", labels)
    assert [source.faces is not None for source in found] == [True, False]
    assert len(pictures.repeat(found, tmp_path / "pictures", 4)) == 4


def test_labels_are_those_of_the_copies_with_what_is_to_be_ignored(photos: list[Source], tmp_path: Path) -> None:
    labelled = [
        Source(photos[0].path, _face(8, 8, 40, 40, ignore=1)),
        Source(photos[1].path, np.zeros((0, 5), np.float32)),
        photos[2],
    ]
    originals = pictures.repeat(labelled, tmp_path / "pictures", 4)
    known = read_ground_truth(Storage(), str(pictures.write_labels(originals, tmp_path / "labels.csv")))
    assert {name: faces.tolist() for name, faces in known.items()} == {
        "00000-00000-0.jpg": [[8, 8, 40, 40, 1]],
        "00000-00001-1.jpg": [],
        "00001-00000-0.jpg": [[8, 8, 40, 40, 1]],
    }


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoPhotographsError, match="--photos"):
        pictures.find_photographs(tmp_path, None)


def test_faces_are_covered_until_nothing_is_found(photos: list[Source], tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def find(path: Path) -> Detections:
        """Finds a face in the first look at each file, and always in the last file."""
        seen[path.name] = seen.get(path.name, 0) + 1
        if seen[path.name] > 1 and path.name != "00002.jpg":
            return Detections.empty()
        box = np.array([[50, 50, 60, 60]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("x",))

    labelled = [Source(photos[0].path, _face(10, 10, 20, 20)), *photos[1:]]
    kept, covered = variants.without_faces(labelled, tmp_path / "faceless", [find])
    assert [source.path.name for source in kept] == ["00000.jpg", "00001.jpg"]
    assert all(source.faces is not None and not len(source.faces) for source in kept)
    assert sorted(path.name for path in (tmp_path / "faceless").iterdir()) == ["00000.jpg", "00001.jpg"]
    first = np.asarray(Image.open(kept[0].path), np.int64)
    assert np.ptp(first[12:18, 12:18], axis=(0, 1)).max() <= 8  # flat, but for what JPEG does
    assert np.ptp(first[25:31, 25:31], axis=(0, 1)).max() > 8  # what was found nowhere is as it was
    assert 0 < covered < 0.2


def test_large_copies_have_12_megapixels_and_boxes_that_grew_with_them(photos: list[Source], tmp_path: Path) -> None:
    [large] = variants.enlarged([Source(photos[1].path, _face(10, 20, 40, 60))], tmp_path / "large")
    with Image.open(large.path) as image:
        assert image.width * image.height == pytest.approx(12e6, rel=0.01)
        factor = image.width / 96
    assert large.faces is not None
    np.testing.assert_allclose(large.faces, [[10 * factor, 20 * factor, 40 * factor, 60 * factor, 0]], rtol=1e-3)


def test_detectors_are_scored_on_labelled_pictures(photos: list[Source]) -> None:
    labelled = [*(Source(source.path, _face(8, 8, 40, 40)) for source in photos[:2]), photos[2]]
    for detector in (accuracy.deface_detector(), accuracy.project_detector()):
        scores = accuracy.score(detector, labelled)
        assert scores["all"]["faces"] == 2
        assert scores["all"]["recall"] == 0  # there is no face to find


def test_a_set_knows_its_photographs_and_scores_itself_only_when_asked(photos: list[Source], tmp_path: Path) -> None:
    labelled = [Source(source.path, _face(8, 8, 40, 40)) for source in photos]
    plain = pictures.make_set(labelled, tmp_path / "plain", COUNT)
    scored = pictures.make_set(labelled, tmp_path / "scored", COUNT, scored=True)
    assert [source.path for source in plain.distinct] == [source.path for source in photos]
    assert (len(plain.files), plain.about["distinct"]) == (COUNT, 3)
    unknown = [pq.read_table(made.manifest).column("regions").null_count for made in (plain, scored)]
    assert unknown == [COUNT, 0]


def test_a_found_face_counts_and_what_is_found_in_unlabelled_pictures_does_not(photos: list[Source]) -> None:
    def find(_: Path) -> Detections:
        box = np.array([[0, 0, 32, 60]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("x",))

    scores = accuracy.score(find, [Source(photos[0].path, _face(0, 0, 30, 60)), photos[1]])
    assert scores["all"]["recall"] == 1
    assert scores["all"]["precision"] == 1
