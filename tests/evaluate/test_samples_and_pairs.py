"""Lists of images: samples do not depend on their order, and errors name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pipeline_fixtures import BOX, FACES, image_bytes, write_dataset

from anon_batch.config import LimitsConfig, SourcesConfig
from anon_batch.errors import ConfigError, ManifestError, ObjectNotFoundError
from anon_batch.evaluate.pairs_csv import read_pairs
from anon_batch.evaluate.samples import ImageReader, Selection, read_names, select_faces, select_from_manifest
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.storage import Storage

IDS = [f"{index:03d}.png" for index in range(30)]


def _counts(selection: Selection) -> tuple[int, int, int]:
    return selection.listed_count, selection.eligible_count, selection.chosen_count


def _chosen(selection: Selection) -> list[str]:
    ids = [row.image_id for row in selection.iterate()]
    assert ids == [row.image_id for row in selection.iterate()], "it can be iterated again"
    assert len(ids) == selection.chosen_count
    return ids


def test_a_manifest_is_sampled_by_the_seed_and_not_by_the_order(tmp_path: Path) -> None:
    forward = write_dataset(str(tmp_path / "a"), IDS)
    backward = write_dataset(str(tmp_path / "b"), IDS[::-1])
    one = select_from_manifest(Storage(), forward, limit=7, seed=1, labelled_only=True)
    two = select_from_manifest(Storage(), backward, limit=7, seed=1, labelled_only=True)
    other = select_from_manifest(Storage(), forward, limit=7, seed=2, labelled_only=True)
    assert len(_chosen(one)) == 7
    assert set(_chosen(one)) == set(_chosen(two)) != set(_chosen(other))
    assert _counts(one) == (30, 30, 7)
    assert [row.index for row in one.iterate()] == [int(row.image_id[:3]) for row in one.iterate()]
    assert _chosen(select_from_manifest(Storage(), forward, limit=None, seed=1, labelled_only=True)) == IDS


def test_rows_without_ground_truth_are_not_chosen(tmp_path: Path) -> None:
    some = pa.array([[BOX] if index % 3 == 0 else None for index in range(30)], FACES)
    uri = write_dataset(str(tmp_path), IDS, faces=some)
    selection = select_from_manifest(Storage(), uri, limit=None, seed=0, labelled_only=True)
    assert _chosen(selection) == IDS[::3]
    assert _counts(selection) == (30, 10, 10)
    assert len(_chosen(select_from_manifest(Storage(), uri, limit=None, seed=0, labelled_only=False))) == 30


def test_a_manifest_without_ground_truth_is_refused(tmp_path: Path) -> None:
    uri = write_dataset(str(tmp_path), IDS, faces=pa.nulls(30, FACES))
    with pytest.raises(ManifestError, match="--ground-truth"):
        select_from_manifest(Storage(), uri, limit=None, seed=0, labelled_only=True)


def test_faces_of_a_folder_or_a_manifest(tmp_path: Path) -> None:
    uri = write_dataset(str(tmp_path), IDS)
    (tmp_path / "src" / "meta.jsonl").write_text("{}")
    folder = str(tmp_path / "src")
    assert _chosen(select_faces(Storage(), folder, only=None, limit=None, seed=0)) == IDS
    assert _chosen(select_faces(Storage(), uri, only=None, limit=None, seed=0)) == IDS
    named = {"004.png", "src/007.png", "011"}
    assert _chosen(select_faces(Storage(), folder, only=named, limit=None, seed=0)) == ["004.png", "011.png"]
    assert len(_chosen(select_faces(Storage(), str(tmp_path), only=named, limit=None, seed=0))) == 3
    limited = select_faces(Storage(), folder, only=None, limit=5, seed=0)
    assert len(_chosen(limited)) == 5
    assert _counts(limited) == (30, 30, 5)


def test_missing_faces(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(image_bytes())
    with pytest.raises(ConfigError, match="--only names none of the 1 images"):
        select_faces(Storage(), str(tmp_path), only={"y"}, limit=None, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no images at"):
        select_faces(Storage(), str(tmp_path / "empty"), only=None, limit=None, seed=0)


def test_read_names(tmp_path: Path) -> None:
    file = tmp_path / "only.txt"
    file.write_text("\ufeffa.png\n\n# held out\n b \n", encoding="utf-8")
    assert read_names(Storage(), str(file)) == {"a.png", "b"}
    file.write_text("\n")
    with pytest.raises(ConfigError, match="contains no names"):
        read_names(Storage(), str(file))
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_names(Storage(), str(file))


def test_a_missing_image_is_an_error_and_a_damaged_one_is_counted(tmp_path: Path) -> None:
    uri = write_dataset(str(tmp_path), IDS[:3])
    selection = select_from_manifest(Storage(), uri, limit=None, seed=0, labelled_only=True)
    reader = ImageReader(Storage(), LimitsConfig(), AllowedSources.of(SourcesConfig(), uri))
    (tmp_path / "src/001.png").write_bytes(b"")
    batches = [[row.image_id for row, _ in batch] for batch in reader.batches(selection.iterate(), 1)]
    assert (batches, dict(reader.failures)) == ([["000.png"], ["002.png"]], {"empty": 1})
    (tmp_path / "src/001.png").unlink()
    with pytest.raises(ObjectNotFoundError, match=r"001\.png"):
        list(reader.batches(selection.iterate(), 2))


def _csv(folder: Path, text: str) -> str:
    (folder / "pairs.csv").write_text(text, encoding="utf-8")
    return str(folder / "pairs.csv")


@pytest.mark.parametrize("below", ["", "images/"])
def test_pairs_lie_beside_the_csv_or_in_images(tmp_path: Path, below: str) -> None:
    (tmp_path / "images").mkdir()
    for name in ("1n.png", "1s.png", "2n.png", "2s.png"):
        (tmp_path / below / name).write_bytes(image_bytes())
    pairs = read_pairs(Storage(), _csv(tmp_path, "person,neutral,smiling,age\n1,1n.png,1s.png,30\n2,2n.png,2s.png,\n"))
    assert [(pair.person, pair.neutral.image_id, pair.smiling.image_id) for pair in pairs] == [
        ("1", "1n.png", "1s.png"),
        ("2", "2n.png", "2s.png"),
    ]
    assert all(Path(row.uri).is_file() for pair in pairs for row in (pair.neutral, pair.smiling))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person,neutral\n1,a.png\n", "no column smiling"),
        ("", "no column person, neutral, smiling"),
        ("person,neutral,smiling\n1,a.png,\n", "line 2: smiling is empty"),
        ("person,neutral,smiling\n1,a.png,b.png\n", "1 persons, expected at least two"),
        ("person,neutral,smiling\n1,a.png,b.png\n1,c.png,d.png\n", "person '1' appears twice"),
        ("person,neutral,smiling\n1,a.png,b.png\n2,a.png,d.png\n", "file 'a.png' appears twice"),
        ("person,neutral,smiling\n1,x.png,b.png\n2,c.png,d.png\n", "x.png is neither beside the CSV nor"),
        ("person,neutral,smiling\n1,a.png,b.png\n2,c.png,x.png\n", "x.png does not exist"),
    ],
)
def test_errors_in_pairs(tmp_path: Path, text: str, expected: str) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(image_bytes())
    with pytest.raises(ConfigError, match="--pairs") as caught:
        read_pairs(Storage(), _csv(tmp_path, text))
    assert expected in str(caught.value)
