"""Faces are compared once, before a run: persons keep a face, doubts split, and nothing of a face is left behind."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_people import Scene, crowd, write_people
from drawn_recogniser import drawn_recogniser
from pipeline_fixtures import DyingStorage, Killed, process_all, verdict
from releases import RUN_KEY

from anon_batch import keys
from anon_batch.cluster import identifying
from anon_batch.cluster.identifying import Identified, discard_faces, identify_job
from anon_batch.config import JobConfig, load_job
from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonStore
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.identify import job as identify_module
from anon_batch.pipeline.identify import worker
from anon_batch.pipeline.identify.tasks import FaceTask, divide
from anon_batch.pipeline.run import Run, open_run
from anon_batch.release.erase.erase import Eraser
from anon_batch.release.erase.request import EraseRequest
from anon_batch.storage import Storage

STATED = {
    f"compliance.{name}": "stated"
    for name in ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention")
}
# Person 1 in three images, 2 in two, 3 small, 4 twice in one image.
OWN: list[Scene] = [[(1, 48), (2, 40)], [(1, 64)], [(2, 48), (3, 16)], [(1, 40), (3, 16)], [(4, 40), (4, 40)], []]
SCENES = [*OWN, *crowd(34)]


@dataclass
class Heard:
    """A reporter that keeps what it hears."""

    rows: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def started(self, rows: int, done: int) -> None:
        self.rows.append((rows, done))

    def done(self, rows: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


GIVEN = {"identity.threshold": 0.8, "identity.max_false_pairs": None}  # for a few images


def _dataset(folder: Path, scenes: list[Scene]) -> Path:
    write_people(folder, scenes, place=pa.array(["x"] * 3 + ["y"] * (len(scenes) - 3)))
    drawn_recogniser(folder / "drawn.onnx")
    (folder / "key").write_bytes(RUN_KEY)
    (folder / "persons.key").write_bytes(bytes(range(32)))
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a crowd, by which it is measured how alike different people look."""
    return _dataset(tmp_path_factory.mktemp("people") / "data", SCENES)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _dataset(tmp_path_factory.mktemp("few") / "data", OWN)


@pytest.fixture(autouse=True)
def _no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load no models of methods for a pass, because none is used."""
    monkeypatch.setattr("anon_batch.cluster.identifying.preflight", lambda config: ())


def job(people: Path, output: Path, **more: Any) -> JobConfig:
    return load_job(
        None,
        {
            "manifest": str(people / "m.parquet"),
            "output": str(output),
            "run_key_file": str(people / "key"),
            "detect.detectors": ["drawn_people"],
            "anonymize.face.method": "swap",
            "checks": {},
            "identity.scope": "dataset",
            "identity.source": "cluster",
            "identity.embedder": str(people / "drawn.onnx"),
            "identity.key_file": str(people / "persons.key"),
            "engine.shard_rows": 8,
            "engine.io_threads": 2,
            **STATED,
            **{key.replace("__", "."): value for key, value in more.items()},
        },
    )


def found(people: Path, output: Path, **more: Any) -> tuple[Identified, dict[tuple[str, int], str | None]]:
    """Identify; return what came out, and (image, face) -> token."""
    config = job(people, output, **more)
    done = identify_job(config, Heard())
    table = pq.read_table(f"{config.ledger_uri}/persons.parquet")
    rows = zip(*(table.column(name).to_pylist() for name in ("image_id", "face", "person")), strict=True)
    return done, {(image, face): person for image, face, person in rows}


def finish(config: JobConfig) -> Run:
    run, _ = open_run(config, ())
    process_all(run)
    finalize(run)
    return run


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int | str], int]:
    """(image, subject) -> seed, as the methods see it."""
    seen: dict[tuple[str, int | str], int] = {}
    own = keys.seed

    def seed(run_key: bytes, image_id: str, subject: int | str) -> int:
        seen[image_id, subject] = own(run_key, image_id, subject)
        return seen[image_id, subject]

    monkeypatch.setattr(keys, "seed", seed)
    return seen


def test_persons_are_found_and_doubts_split(people: Path, tmp_path: Path) -> None:
    done, of = found(people, tmp_path / "out")
    assert len({of["000.png", 0], of["001.png", 0], of["003.png", 0]}) == 1
    assert of["000.png", 1] == of["002.png", 0] != of["000.png", 0]
    assert of["002.png", 1] is None  # 16 px
    assert of["003.png", 1] is None
    assert None not in (of["004.png", 0], of["004.png", 1])
    assert of["004.png", 0] != of["004.png", 1], "two faces of one image are two people"
    alone = [person for (image, _), person in of.items() if image > "004.png"]
    assert len(set(alone)) == 136
    own = done.summary
    assert (own.persons, own.linked, own.largest, own.compared, own.faces) == (2, 5, 3, 143, 145)
    assert own.calibrated
    assert own.expected is not None
    assert own.expected["value"] <= 1
    assert own.other_people["twice"] == 1  # the person who is twice in an image tells nothing about two people


def test_features_are_encrypted_and_deleted(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    own = worker.FaceFinder._features

    def features(self: Any, source: Any, faces: Any) -> Any:
        rows = own(self, source, faces)
        seen.extend(row[-1] for row in rows if row[-1] is not None)
        return rows

    monkeypatch.setattr(worker.FaceFinder, "_features", features)
    done, _ = found(few, tmp_path / "kept", **GIVEN, identity__keep_features=True)
    assert done.keeps_features
    parts = sorted((tmp_path / "kept-ledger/faces").glob("*.sealed"))
    assert len(parts) == 1  # of at most engine.shard_rows rows
    key = (tmp_path / "kept-ledger/keys/features.key").read_bytes()
    for path in (tmp_path / "kept-ledger").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(feature[:24] in data for feature in seen), path
            assert key not in data or path.name == "features.key", path
            assert path.stat().st_mode & 0o077 == 0
    assert discard_faces(job(few, tmp_path / "kept", **GIVEN)) == 1
    done, _ = found(few, tmp_path / "gone", **GIVEN)
    assert not done.keeps_features
    for ledger in ("kept-ledger", "gone-ledger"):
        left = {path.name for path in (tmp_path / ledger).rglob("*") if path.is_file()}
        assert left == {"persons.parquet", "persons.json"}


def test_a_run_takes_these_persons(few: Path, tmp_path: Path, seeds: dict[tuple[str, int | str], int]) -> None:
    _, of = found(few, tmp_path / "out", **GIVEN)
    run = finish(job(few, tmp_path / "out", **GIVEN))
    for (image, face), person in of.items():
        assert (image, face if person is None else person) in seeds
    assert len(seeds) == len(of)
    assert verdict(run).faults == []
    counted = json.loads((tmp_path / "out/stats.json").read_bytes())["checks"]["identity"]
    assert counted == {"named": 7, "unnamed": 2}
    said = json.loads((tmp_path / "out/run.json").read_bytes())["config"]["identity"]
    assert said["source"] == "cluster"
    assert said["pairs"] == 19
    tokens = {person for person in of.values() if person}
    for path in [*(tmp_path / "out").rglob("*"), *(tmp_path / "out-ledger").rglob("*")]:
        if path.is_file() and path.name != "persons.parquet" and path.parts[-3] != "rows":
            assert not any(token.encode() in path.read_bytes() for token in tokens), path


def test_a_face_that_was_not_compared_is_nobodys_and_is_counted(few: Path, tmp_path: Path) -> None:
    found(few, tmp_path / "out", **GIVEN)
    config = job(few, tmp_path / "out", **GIVEN)
    store = PersonStore(Ledger(Storage(), config.ledger_uri))
    summary = store.summary()
    assert summary is not None
    store.forget([1])  # as if the pass had not found the face of row 1
    finish(config)
    counted = json.loads((tmp_path / "out/stats.json").read_bytes())["checks"]["identity"]
    assert counted == {"named": 6, "unnamed": 3, "unmatched": 1}


def test_a_run_without_persons_or_with_others_is_refused(few: Path, tmp_path: Path) -> None:
    config = job(few, tmp_path / "out", **GIVEN)
    with pytest.raises(ConfigError, match="run `anon-batch identify` with this job first"):
        open_run(config, ())
    found(few, tmp_path / "out", **GIVEN)
    for more, says in (
        ({"identity.threshold": 0.5}, r"other settings \(identity\.threshold"),
        ({"identity.scope": "group", "identity.group_column": "place"}, r"other settings \(identity\.scope"),
        ({"detect.max_side_px": 500}, r"as other settings found them \(detect\.max_side_px"),
    ):
        with pytest.raises(ConfigError, match=says):
            open_run(job(few, tmp_path / "out", **{**GIVEN, **more}), ())
    (tmp_path / "other.key").write_bytes(bytes(32))
    with pytest.raises(ResumeRefusedError, match="another identity key"):
        open_run(job(few, tmp_path / "out", **GIVEN, identity__key_file=str(tmp_path / "other.key")), ())
    shutil.copytree(few, tmp_path / "less")
    table = pq.read_table(few / "m.parquet")
    pq.write_table(table.slice(1), tmp_path / "less/m.parquet")
    with pytest.raises(ConfigError, match="other rows, sources or groups"):
        open_run(
            job(
                few,
                tmp_path / "out",
                **GIVEN,
                manifest=str(tmp_path / "less/m.parquet"),
                sources__allow=[f"{few}/src/"],
            ),
            (),
        )
    run = finish(config)
    with pytest.raises(ResumeRefusedError):
        open_run(job(few, tmp_path / "out", **GIVEN, identity__scope="none"), ())
    assert not identify_job(config, Heard()).is_new
    with pytest.raises(ConfigError, match="a run has begun here"):
        identify_job(job(few, tmp_path / "out", **{**GIVEN, "identity.threshold": 0.5}), Heard())
    assert verdict(run).faults == []


def test_without_a_legal_basis_no_face_is_compared(few: Path, tmp_path: Path) -> None:
    for name in ("compliance.art9_basis", "compliance.controller"):
        config = job(few, tmp_path / "out", **GIVEN, **{name: None})
        with pytest.raises(ConfigError, match=rf"Article 9.*state {name}"):
            identify_job(config, Heard())
        with pytest.raises(ConfigError, match=rf"Article 9.*state {name}"):
            open_run(config, ())
    assert not (tmp_path / "out-ledger").exists()
    with pytest.raises(ConfigError, match="nothing to identify"):
        identify_job(job(few, tmp_path / "out", **GIVEN, identity__source="column"), Heard())


def test_groups_keep_apart(people: Path, tmp_path: Path) -> None:
    done, of = found(people, tmp_path / "out", identity__scope="group", identity__group_column="place")
    assert of["000.png", 0] == of["001.png", 0] != of["003.png", 0]
    assert done.summary.pairs < 9_948


def test_more_false_pairs_than_allowed_are_refused_and_faces_wait(people: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"false pairs are expected, more than identity\.max_false_pairs \(1\)"):
        found(people, tmp_path / "out", identity__threshold=0.2)
    assert not (tmp_path / "out-ledger/persons.json").exists()
    heard = Heard()
    done = identify_job(job(people, tmp_path / "out", identity__threshold=0.2, identity__max_false_pairs=9999), heard)
    assert heard.rows == [(40, 40)], "nothing is searched again"
    assert not done.summary.calibrated
    with pytest.raises(ConfigError, match=r"no threshold up to 0\.95"):
        found(people, tmp_path / "none", identity__max_false_pairs=0)


def test_too_few_others_are_said(few: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"identity\.threshold is null, and 1 pairs"):
        found(few, tmp_path / "out")
    with pytest.raises(ConfigError, match="too few to tell how many false pairs"):
        found(few, tmp_path / "out", identity__threshold=0.8)
    done, of = found(few, tmp_path / "out", **GIVEN)
    assert of["000.png", 0] == of["001.png", 0]
    assert done.summary.expected is None
    with pytest.raises(ConfigError, match="no face can be compared"):
        found(few, tmp_path / "none", identity__min_face_px=100)


def test_tasks_and_their_order_do_not_matter(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(people, tmp_path / "one")
    for number, rows in enumerate((50, 7)):
        monkeypatch.setattr(identifying, "divide", _shuffled(rows, number))
        found(people, tmp_path / f"other{number}")
        other = (tmp_path / f"other{number}-ledger/persons.parquet").read_bytes()
        assert other == (tmp_path / "one-ledger/persons.parquet").read_bytes()


def _shuffled(rows: int, seed: int) -> Callable[..., Iterator[FaceTask]]:
    def shuffled(total: int, done: Any, _: int) -> Iterator[FaceTask]:
        tasks = list(divide(total, done, rows))
        random.Random(seed).shuffle(tasks)
        return iter(tasks)

    return shuffled


@pytest.mark.parametrize(
    ("first", "step", "after"),
    [
        (3, 5, False),
        pytest.param(1, 1, False, marks=pytest.mark.full),
        pytest.param(1, 1, True, marks=pytest.mark.full),
    ],
)
def test_a_pass_that_dies_at_any_change_goes_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, step: int, after: bool
) -> None:
    monkeypatch.setattr(identifying, "divide", lambda total, done, rows: divide(total, done, 2))
    found(few, tmp_path / "whole", **GIVEN)
    whole = (tmp_path / "whole-ledger/persons.parquet").read_bytes()
    for dies_at in range(first, 40, step):
        storage = DyingStorage(dies_at=dies_at, after=after)
        output = tmp_path / f"out{dies_at}"
        with monkeypatch.context() as patched:
            for module in (identifying, identify_module):
                patched.setattr(module, "Storage", lambda *_, storage=storage: storage)
            try:
                identify_job(job(few, output, **GIVEN), Heard())
                died = False
            except Killed:
                died = True
        found(few, output, **GIVEN)
        assert Path(f"{output}-ledger/persons.parquet").read_bytes() == whole
        left = {
            path.name for path in Path(f"{output}-ledger").rglob("*") if path.is_file() and path.parts[-3] != "rows"
        }
        assert left == {"persons.parquet", "persons.json"}, dies_at  # rows without a plan go when the run ends
        if not died:
            break
    assert dies_at > 8, "it dies before there is anything to go on with"


def test_erased_people_are_in_no_file_of_persons(few: Path, tmp_path: Path) -> None:
    _, of = found(few, tmp_path / "out", **GIVEN, identity__keep_features=True)
    config = job(few, tmp_path / "out", **GIVEN, identity__keep_features=True)
    run = finish(config)
    person = of["000.png", 0]
    assert person is not None
    eraser = Eraser(run.release, run.ledger)
    request = EraseRequest(persons=(person,))
    rows = eraser.find(request)
    assert [row.image_id for row in rows.rows] == ["000.png", "001.png", "003.png"]
    eraser.erase(request, rows)
    table = pq.read_table(tmp_path / "out-ledger/persons.parquet")
    assert person not in table.column("person").to_pylist()
    assert not {"000.png", "001.png", "003.png"} & set(table.column("image_id").to_pylist())
    assert not (tmp_path / "out-ledger/faces").exists() or not list((tmp_path / "out-ledger/faces").iterdir())
    assert verdict(run).faults == []
    open_run(config, ())  # which resumes, though rows are gone
    assert eraser.find(EraseRequest(persons=("nobody",))).missing == ["nobody"]


def test_persons_that_were_changed_are_reported(few: Path, tmp_path: Path) -> None:
    found(few, tmp_path / "out", **GIVEN)
    config, path = job(few, tmp_path / "out", **GIVEN), tmp_path / "out-ledger/persons.parquet"
    run, data = finish(config), path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    assert any("persons.parquet: not the persons" in fault for fault in verdict(run).faults)
    with pytest.raises(IntegrityError, match="not the persons"):
        open_run(config, ())
    path.write_bytes(data)
    summary = tmp_path / "out-ledger/persons.json"
    text = summary.read_text()
    summary.write_text(text.replace(json.loads(text)["made_sha256"], "0" * 64))
    assert any("not the persons" in fault or "other persons" in fault for fault in verdict(run).faults)
    summary.unlink()
    assert any("persons.json is missing" in fault for fault in verdict(run).faults)
