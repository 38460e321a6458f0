"""How well persons are found by comparing faces, 51 of them among others, and what their new faces say."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from external_data import MODELS, PAIRS, PHOTOS, needs_data, skip_without_weights
from releases import run_cli

from anon_batch import Anonymizer
from anon_batch.clustering.other_people import find_other_people, pairs_compared
from anon_batch.clustering.persons import find_persons
from anon_batch.config import ModelsConfig
from anon_batch.evaluate.recognition import cosines, equal_error_rate
from anon_batch.imaging.source import SourceImage
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Withheld
from anon_batch.pipeline.identify.worker import comparable
from anon_batch.recognition.embedder import Embedder, Face, load_embedder
from anon_batch.storage import Storage

pytestmark = [pytest.mark.accuracy, needs_data(PAIRS, PHOTOS)]
EMBEDDER = "mobilefacenet_kw.onnx"
SIDES = (24, 32, 48, None)  # of a face, px; None: as photographed
STREET = "street"
COMPLIANCE = ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention")


class Faces(NamedTuple):
    """Faces that can be compared: features (N, D), number of the image, person or STREET, side (0: as photographed), boxes."""

    features: np.ndarray
    images: np.ndarray
    persons: np.ndarray
    sides: np.ndarray
    boxes: np.ndarray


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    skip_without_weights(EMBEDDER)
    return load_embedder(ModelStore(Storage(), ModelsConfig()), str(MODELS / EMBEDDER), 1)


def persons() -> list[dict[str, str]]:
    return list(csv.DictReader((PAIRS / "pairs.csv").read_text("utf-8").splitlines()))


@pytest.fixture(scope="module")
def faces(embedder: Embedder) -> Faces:
    anonymizer = Anonymizer(policy="solid", key=bytes(32))
    rows: list[tuple[Any, ...]] = []

    def add(source: SourceImage, person: str, side: int, number: int) -> None:
        [found] = anonymizer.detect([source])
        assert not isinstance(found, Withheld)
        for at in np.flatnonzero(comparable(found, 24)):
            [feature] = embedder.embed([Face(source.decode().pixels, found.landmarks[at])])
            rows.append((feature, number, person, side, found.boxes[at]))

    number = 0
    for row in persons():
        for name in (row["neutral"], row["smiling"]):
            whole = SourceImage.open(name, (PAIRS / "images" / name).read_bytes())
            [found] = anonymizer.detect([whole])
            assert not isinstance(found, Withheld)
            width = float((found.boxes[:, 2] - found.boxes[:, 0])[found.scores.argmax()])
            for side in SIDES:
                number += 1
                pixels = whole.decode().pixels
                if side is not None:
                    share = (side + 0.8) / width  # because the detector's box is not the drawn one
                    pixels = np.asarray(
                        cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8
                    )
                add(SourceImage.from_array(name, pixels), row["person"], side or 0, number)
    for path in sorted((PHOTOS / "images").iterdir()):
        number += 1
        add(SourceImage.open(path.name, path.read_bytes()), STREET, 0, number)
    return Faces(*(np.array(own) for own in zip(*rows, strict=True)))


def test_others_of_half_the_photographs_are_as_many_as_the_other_half_says(
    faces: Faces, capsys: pytest.CaptureFixture[str]
) -> None:
    street = faces.persons == STREET
    halves = [street & (faces.images % 2 == half) for half in (0, 1)]
    one, other = (find_other_people(faces.features[own], faces.images[own], faces.boxes[own]) for own in halves)
    for threshold in (0.4, 0.5, 0.55, 0.6):
        expected = one.expected(threshold, len(other.similarity))
        seen = int((other.similarity >= threshold).sum())
        with capsys.disabled():
            print(
                f"\ncosine {threshold}: {seen} of {len(other.similarity)} pairs seen, {expected.value:.1f} expected "
                f"({expected.low:.1f} to {expected.high:.1f})",
                end="",
            )
        assert seen <= expected.high + 1
        assert seen >= expected.low / 4 - 1


def test_persons_stay_whole_and_are_never_mixed(faces: Faces, capsys: pytest.CaptureFixture[str]) -> None:
    groups = np.zeros(len(faces.images), np.int64)
    street = faces.persons == STREET
    others = find_other_people(faces.features[street], faces.images[street], faces.boxes[street])
    for large in (False, True):
        kept = (faces.sides == 0) if large else np.ones(len(groups), bool)
        pairs = pairs_compared(faces.images[kept], groups[kept])
        least = others.threshold(pairs, 1.0)
        assert least is not None
        for threshold in (0.5, 0.6, 0.7, 0.8, least):
            found = find_persons(faces.features[kept], faces.images[kept], groups[kept], threshold)
            who = faces.persons[kept]
            of = {person: np.flatnonzero(who == person) for person in np.unique(who[who != STREET])}
            whole = sum(len(np.unique(found.labels[own])) == 1 for own in of.values())
            mixed = sum(len(np.unique(who[found.labels == found.labels[own[0]]])) > 1 for own in of.values())
            with capsys.disabled():
                print(
                    f"\n{'as photographed' if large else '24 px and up'}, cosine {threshold:g}"
                    f"{' (one false pair expected)' if threshold == least else ''}: {whole} of {len(of)} persons whole, {mixed} "
                    f"mixed, {kept.sum()} faces, {pairs} pairs",
                    end="",
                )
            assert mixed == 0
            assert threshold > 0.5 or whole >= 0.9 * len(of)
        assert not large or whole >= 0.9 * len(of)


def test_faces_of_16_px_are_not_compared(embedder: Embedder) -> None:
    anonymizer = Anonymizer(policy="solid", key=bytes(32))
    for row in persons()[:8]:
        pixels = SourceImage.open("a", (PAIRS / "images" / row["neutral"]).read_bytes()).decode().pixels
        [found] = anonymizer.detect([SourceImage.from_array("a", pixels)])
        assert not isinstance(found, Withheld)
        share = 16 / float((found.boxes[:, 2] - found.boxes[:, 0])[found.scores.argmax()])
        small = np.asarray(cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)
        [found] = anonymizer.detect([SourceImage.from_array("a", small)])
        assert not isinstance(found, Withheld)
        assert not comparable(found, 24).any()


@pytest.fixture(scope="module")
def jobs(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The commands of a user, under two identity keys: name -> release."""
    folder = tmp_path_factory.mktemp("persons")
    (folder / "photos").mkdir()
    for path in (*(PAIRS / "images").iterdir(), *sorted((PHOTOS / "images").iterdir())[::2]):
        shutil.copy(path, folder / "photos" / path.name)
    done = run_cli("manifest", str(folder / "photos"), "-o", str(folder / "m.parquet"))
    assert done.returncode == 0, done.stderr
    for name, key in (("one", bytes(range(32))), ("other", bytes(range(1, 33)))):
        (folder / f"{name}.key").write_bytes(key)
        job = {
            "manifest": str(folder / "m.parquet"),
            "output": str(folder / name),
            "anonymize": {"face": {"method": "swap"}},
            "identity": {
                "scope": "dataset",
                "source": "cluster",
                "embedder": str(MODELS / EMBEDDER),
                "min_face_px": 24,
                "key_file": str(folder / f"{name}.key"),
            },
            "run_key_file": str(folder / "one.key"),
            "compliance": dict.fromkeys(COMPLIANCE, "stated"),
        }
        (folder / f"{name}.yaml").write_text(json.dumps(job))
        for command in ("identify", "run"):
            done = run_cli(command, str(folder / f"{name}.yaml"), "--json", timeout_s=1500)
            assert done.returncode == 0, done.stderr
    return {name: folder / name for name in ("one", "other")}


@pytest.mark.timeout(3600)
def test_a_person_keeps_one_new_face_under_one_key_alone(
    jobs: dict[str, Path], embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = persons()

    def new_faces(release: Path, side: str) -> np.ndarray:
        table = pq.read_table(f"{release}-ledger/persons.parquet", columns=["image_id", "face", "person"]).to_pylist()
        assert {row["image_id"] for row in table} >= {row[side] for row in names}
        anonymizer = Anonymizer(policy="solid", key=bytes(32))
        own = []
        for row in names:
            [found] = anonymizer.detect([SourceImage.open("a", (PAIRS / "images" / row[side]).read_bytes())])
            assert not isinstance(found, Withheld)
            best = int(found.scores.argmax())
            pixels = SourceImage.open("a", (release / "images" / row[side]).read_bytes()).decode().pixels
            own.append(embedder.embed([Face(pixels, found.landmarks[best])])[0])
        return np.array(own)

    same = np.eye(len(names), dtype=bool)

    def eer(first: np.ndarray, second: np.ndarray) -> float:
        similarity = cosines(first, second)
        rate = equal_error_rate(similarity[same], similarity[~same])
        assert rate is not None
        return rate

    neutral, smiling = (new_faces(jobs["one"], side) for side in ("neutral", "smiling"))
    within, across = eer(neutral, smiling), eer(neutral, new_faces(jobs["other"], "smiling"))
    summary = json.loads(Path(f"{jobs['one']}-ledger/persons.json").read_text())
    with capsys.disabled():
        print(
            f"\nend to end at cosine {summary['threshold']}, {summary['expected']['value']:.2f} false pairs expected of "
            f"{summary['pairs']}: equal error rate {within:.1%} under one key, {across:.1%} under two"
        )
    assert within <= 0.05
    assert across >= 0.35
