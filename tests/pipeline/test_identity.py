"""A person keeps a face across images, shards and versions; nobody else's changes, and no file of the release names anybody."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from patch_fixtures import patch_release, rows_of
from PIL import Image
from pipeline_fixtures import FACES, job, release, verdict
from releases import RUN_KEY

from anon_batch import keys
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, ResumeRefusedError
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import open_run
from anon_batch.records import Detections, GroundTruth
from anon_batch.steps import subjects_of

PERSONS = ["ann", "bob", "ann", None, "ann", "bob"]
BOX = {"x1": 30.0, "y1": 26.0, "x2": 66.0, "y2": 70.0, "ignore": False}


def dataset(folder: Path, persons: pa.Array | None = None, boxes: list[list[dict[str, Any]]] | None = None) -> Path:
    """Write images that look alike around their faces."""
    (folder / "src").mkdir()
    for number in range(len(PERSONS)):
        pixels = np.random.default_rng(number).integers(90, 110, (96, 96, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        (folder / f"src/{number}.png").write_bytes(buffer.getvalue())
    table = {
        "image_id": pa.array([f"{n}.png" for n in range(len(PERSONS))]),
        "uri": pa.array([str(folder / f"src/{n}.png") for n in range(len(PERSONS))]),
        "faces": pa.array(boxes or [[BOX]] * len(PERSONS), FACES),
        "person": pa.array(PERSONS) if persons is None else persons,
        "place": pa.array(["x", "x", "y", "y", "x", "y"]),
    }
    pq.write_table(pa.table(table), folder / "m.parquet")
    (folder / "key").write_bytes(RUN_KEY)
    return folder


def identity_job(folder: Path, output: str = "out", **more: Any) -> JobConfig:
    keys_ = {"anonymize.face.method": "swap", "identity.scope": "dataset", "engine.shard_rows": 2, "checks": {}}
    return job(str(folder), output, **{**keys_, **more})


@pytest.fixture
def donors(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Image id -> seed of its face, as the methods see it."""
    seen: dict[str, int] = {}
    own = keys.seed

    def seed(run_key: bytes, image_id: str, subject: int | str) -> int:
        seen[image_id] = own(run_key, image_id, subject)
        return seen[image_id]

    monkeypatch.setattr(keys, "seed", seed)
    return seen


def groups_of(seeds: dict[str, int]) -> list[list[int]]:
    """Return the images of each seed, by their numbers."""
    by_seed: dict[int, list[int]] = {}
    for image_id, seed in sorted(seeds.items()):
        by_seed.setdefault(seed, []).append(int(image_id[0]))
    return sorted(by_seed.values())


def test_a_person_has_one_seed_in_all_images(tmp_path: Path, donors: dict[str, int]) -> None:
    run = release(identity_job(dataset(tmp_path)))
    assert groups_of(donors) == [[0, 2, 4], [1, 5], [3]]
    assert {row["status"] for row in rows_of(run)} == {"anonymized"}
    assert verdict(run).faults == []
    assert run.describe().config["identity"] == {"scope": "dataset"}
    assert run.config.anonymize.options["swap"] == {"donor_by": "subject"}


def test_groups_keep_apart(tmp_path: Path, donors: dict[str, int]) -> None:
    release(identity_job(dataset(tmp_path), **{"identity.scope": "group", "identity.group_column": "place"}))
    assert groups_of(donors) == [[0, 4], [1], [2], [3], [5]]


def test_off_changes_no_byte(tmp_path: Path, donors: dict[str, int]) -> None:
    folder = dataset(tmp_path)
    off = release(identity_job(folder, "off", **{"identity.scope": "none"}))
    assert groups_of(donors) == [[n] for n in range(6)]
    assert "identity" not in off.describe().config
    assert not (tmp_path / "off-ledger/keys").exists()


def test_another_key_gives_unrelated_seeds_and_the_same_file_the_same(tmp_path: Path, donors: dict[str, int]) -> None:
    folder = dataset(tmp_path)
    (folder / "persons.key").write_bytes(bytes(range(32)))
    runs: list[dict[str, int]] = []
    for name, more in (
        ("a", {}),
        ("b", {}),
        ("c", {"identity.key_file": str(folder / "persons.key")}),
        ("d", {"identity.key_file": str(folder / "persons.key")}),
    ):
        release(identity_job(folder, name, **more))
        runs.append(dict(donors))
    assert runs[2] == runs[3]
    assert all(runs[0][name] != runs[1][name] != runs[2][name] for name in ("0.png", "1.png"))
    assert len({own["3.png"] for own in runs}) == 1  # who is unknown keeps the seed that the image gives


def test_no_public_file_and_no_row_of_a_worker_names_anybody(tmp_path: Path) -> None:
    run = release(identity_job(dataset(tmp_path, pa.array(["secret-ann"] * 6))))
    key = (tmp_path / "out-ledger/keys/identity.key").read_bytes()
    token = run.planned_rows().read(next(iter(run.release.parts())))[0].persons
    assert isinstance(token, str)
    for path in [*(tmp_path / "out").rglob("*"), *(tmp_path / "out-ledger").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert b"secret-ann" not in data, path
            assert key not in data or path.name == "identity.key", path
            assert token.encode() not in data or path.parts[-3] == "rows", path
    assert "person" not in run.release.read_part(next(iter(run.release.parts()))).table.column_names
    assert json.loads((tmp_path / "out/run.json").read_bytes())["columns"]["withheld"]["person"]


def test_a_patch_keeps_the_faces(tmp_path: Path, donors: dict[str, int]) -> None:
    run = release(identity_job(dataset(tmp_path)))
    before = dict(donors)
    donors.clear()
    patch_release(run, anonymize__face__expansion=1.3)
    assert donors == before


def test_a_resume_with_another_scope_or_key_is_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    run = release(identity_job(folder))
    (folder / "other.key").write_bytes(bytes(32))
    for more in (
        {"identity.scope": "none"},
        {"identity.key_file": str(folder / "other.key")},
        {"identity.scope": "group", "identity.group_column": "place"},
    ):
        with pytest.raises(ResumeRefusedError):
            open_run(identity_job(folder, **more), ())
    assert open_run(identity_job(folder), ())[1]
    (Path(run.ledger.uri) / "keys/identity.key").unlink()
    with pytest.raises(ResumeRefusedError, match=r"identity\.key does not exist"):
        open_run(identity_job(folder), ())


def test_methods_that_keep_no_face_are_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    for more in (
        {"anonymize.face.method": "solid"},
        {"anonymize.face.method": "inpaint"},
        {"anonymize.options": {"swap": {"donor_by": "surroundings"}}},
    ):
        with pytest.raises(ConfigError, match="gives no person a face of its own"):
            preflight(identity_job(folder, **more))
    preflight(identity_job(folder))
    with pytest.raises(ConfigError, match="scope: group needs group_column"):
        identity_job(folder, **{"identity.scope": "group"})


def boxes(*left: int) -> np.ndarray[Any, Any]:
    return np.array([(x, 0, x + 10, 10) for x in left], np.float32).reshape(-1, 4)


def test_which_detection_shows_whom() -> None:
    scores, none = np.array([0.9, 0.8, 0.7], np.float32), np.full((3, 5, 2), np.nan, np.float32)
    found = Detections(boxes(0, 50, 90), scores, none, ("d",) * 3)
    truth = GroundTruth(boxes(51, 2, 200), np.zeros(3, np.bool_))
    assert subjects_of(found, truth, None) == [0, 1, 2]
    assert subjects_of(found, truth, ("b", "a", "c")) == ["a", "b", 2]
    assert subjects_of(found, truth, (None, "a", "c")) == ["a", 1, 2]
    assert subjects_of(found, truth, "a") == [0, 1, 2]  # nobody knows whose name it is
    assert subjects_of(found, None, "a") == [0, 1, 2]
    one = GroundTruth(boxes(91), np.zeros(1, np.bool_))
    assert subjects_of(found, one, "a") == [0, 1, "a"]
    assert subjects_of(found.take(np.array([1])), None, "a") == ["a"]
    assert subjects_of(Detections.empty(), truth, ("b", "a", "c")) == []


def test_one_name_is_that_of_the_only_face_whatever_else_is_found() -> None:
    def found(*labels: str) -> Detections:
        n = len(labels)
        scores, none = np.full(n, 0.9, np.float32), np.full((n, 5, 2), np.nan, np.float32)
        return Detections(boxes(*range(0, 50 * n, 50)), scores, none, ("d",) * n, labels)

    def labelled(*labels: str) -> GroundTruth:
        n = len(labels)
        return GroundTruth(boxes(*range(400, 400 + 50 * n, 50)), np.zeros(n, np.bool_), labels)

    assert subjects_of(found("person", "face", "text"), None, "a") == [0, "a", 2]
    assert subjects_of(found("licence_plate", "face"), labelled("face", "person"), "a") == [0, "a"]
    assert subjects_of(found("face", "person", "person"), None, "a") == [0, 1, 2]  # the name may be the other person's
    assert subjects_of(found("face", "face", "person"), None, "a") == [0, 1, 2]
    assert subjects_of(found("face", "person"), labelled("face", "face"), "a") == [0, 1]
    assert subjects_of(found("text", "text"), None, "a") == [0, 1]
