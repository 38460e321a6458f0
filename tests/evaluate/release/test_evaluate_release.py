"""`anon-batch evaluate OUTPUT` on releases of the photographs that ship: numbers, damage, gates, and what leaves the job."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from leaks import assert_public
from onnx import TensorProto, helper
from pipeline_fixtures import process_all
from releases import actors_of

from anon_batch import cli
from anon_batch.cluster.evaluation import Measured, Selection, measure_release
from anon_batch.config import DetectorConfig, JobConfig, load_job
from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.evaluate.release.draw import draw_rows
from anon_batch.evaluate.release.evidence import to_evidence
from anon_batch.evaluate.release.job import ReleaseJob, open_release_job
from anon_batch.evaluate.release.meter import label_of
from anon_batch.evaluate.release.rows import RowReader
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import divide
from anon_batch.evaluate.release.worker import ReleaseMeasurer
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.manifest import build_manifest
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage

SAMPLE = Path(__file__).parents[3] / "manifests" / "sample"
SCORER = DetectorConfig(name="centerface", scale=1.0)
Main = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four photographs, their labels, and a run key."""
    folder = tmp_path_factory.mktemp("releases")
    photos = folder / "src"
    for name in (
        "people/london/003_neutral.jpg",
        "people/london/six_people.jpg",
        "places/chelsea.png",
        "places/camera.png",
    ):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / "photos" / name, photos / name)
    labels = json.loads((SAMPLE / "faces.json").read_text())
    (folder / "faces.json").write_text(
        json.dumps({name: own for name, own in labels.items() if (photos / name).exists()})
    )
    build_manifest(Storage(), [str(photos)], str(folder / "m.parquet"), ground_truth=str(folder / "faces.json"))
    (folder / "key").write_bytes(b"k" * 32)
    return folder


def job_of(base: Path, output: str, **keys: Any) -> JobConfig:
    return load_job(
        None,
        {
            "manifest": str(base / "m.parquet"),
            "output": str(base / output),
            "run_key_file": str(base / "key"),
            "detect.detectors": ["manifest"],
            "anonymize.face.method": "solid",
            "gates.failed": 1.0,
            **{name.replace("__", "."): value for name, value in keys.items()},
        },
    )


def make(base: Path, output: str, **keys: Any) -> Run:
    run, _ = open_run(job_of(base, output, **keys), ())
    process_all(run)
    finalize(run)
    return run


def opened(run: Run, **changes: Any) -> ReleaseJob:
    operator = load_job(
        None, {"manifest": "none", "output": run.release.uri, "storage.retries": 0, "storage.retry_for_s": 0}
    )
    job = open_release_job(run.release, run.ledger, operator, sources={}, scorer=SCORER)
    return dataclasses.replace(job, **changes)


def measured(job: ReleaseJob, **selection: Any) -> Measured:
    return measure_release(job, Selection(**selection), lambda _: None, lambda _: None, lambda _: None)


def evidence_of(job: ReleaseJob, found: Measured) -> Evidence:
    return to_evidence(job, job.release.read_stats(), found.drawn, found.state, found.models)


def numbers(evidence: Evidence) -> dict[str, Any]:
    """Return what must be equal whatever the layout and the shards of a release."""
    fields = json.loads(evidence.to_json())
    return {name: fields[name] for name in fields if name not in ("run_id", "created_at", "stats_sha256")}


@pytest.fixture(scope="module")
def release(base: Path) -> Run:
    return make(base, "whole")


@pytest.fixture
def copy(release: Run, base: Path, tmp_path: Path) -> Run:
    """A copy of release, ledger and sources that a test may damage."""
    shutil.copytree(release.release.uri, tmp_path / "out")
    shutil.copytree(release.ledger.uri, tmp_path / "out-ledger")
    storage = Storage()
    return dataclasses.replace(
        release, release=Release(storage, str(tmp_path / "out")), ledger=Ledger(storage, str(tmp_path / "out-ledger"))
    )


def test_numbers_are_the_same_for_any_shards_tasks_and_layout(base: Path, release: Run) -> None:
    expected = numbers(evidence_of(opened(release), measured(opened(release))))
    assert expected["sample"]["rows"] == 4
    assert expected["figures"]["utility.faces_kept"]["n"] >= 7
    for keys, rows in (
        ({"write__layout": "webdataset", "engine__shard_rows": 1}, 64),
        ({"write__layout": "parquet"}, 1),
    ):
        job = opened(make(base, "-".join(map(str, keys.values())), **keys))
        assert numbers(evidence_of(job, measured(job, task_rows=rows))) == expected


def test_generated_faces_are_grouped_by_their_donors_if_the_key_renders_what_was_published(base: Path) -> None:
    run = make(base, "swapped", anonymize__face__method="swap")
    job = opened(run)
    without = evidence_of(job, measured(job))
    assert "gan and swap" in without.figures["groups.gap"].note, "the key is a file of the owner's, not in the ledger"
    shutil.copy(base / "key", Path(run.ledger.uri) / "run.key")
    tables = evidence_of(job, measured(job)).tables
    for trait in ("age", "sex", "skin"):
        assert sum(row[1] for row in tables[f"groups.{trait}"].rows) == 8, "all faces of the photographs"
    shutil.copytree(run.ledger.uri, base / "swapped-unknown_model")
    (base / "swapped-unknown_model/run.key").write_bytes(b"y" * 32)
    other = dataclasses.replace(job, ledger=Ledger(Storage(), str(base / "swapped-unknown_model")))
    evidence = evidence_of(other, measured(other))
    # Another key chooses among about twenty donors a face, so it hits the published one now and then, whose traits are true then.
    counts = [sum(row[1] for row in own.rows) for name, own in evidence.tables.items() if name.startswith("groups.")]
    assert max(counts, default=0) <= 3, "another key gives other faces"


def test_a_sample_depends_on_ids_and_seed_alone(base: Path, release: Run) -> None:
    one = make(base, "single", engine__shard_rows=1)
    for limit, share, seed in ((2, None, 0), (3, None, 7), (None, 0.6, 1), (99, None, 0)):
        drawn = []
        for run in (release, one):
            found = draw_rows(run.release, run.release.read_run_json(), limit=limit, share=share, seed=seed)
            drawn.append({spec.start + offset for spec, offsets in found.shards for offset in offsets})
        assert drawn[0] == drawn[1]
        assert limit is None or len(drawn[0]) == min(limit, 4)


def test_only_numbers_leave_a_worker(release: Run) -> None:
    job = opened(release)
    drawn = draw_rows(job.release, job.run, limit=None, share=None, seed=0)
    [task] = divide(drawn.shards, 64)
    result = ReleaseMeasurer(job).process(task)
    assert result.error == ""
    sent = pickle.dumps(result)
    for path in (Path(release.release.uri) / "images").rglob("*.*"):
        assert path.read_bytes()[200:264] not in sent
    arrays = [
        value
        for column in (result.value.utility.images, result.value.utility.faces)
        for value in column.columns().values()
    ]
    assert all(array.dtype != np.uint8 for array in arrays)
    assert b"/src/" not in sent


def test_a_source_that_is_gone_or_changed_is_counted_by_reason(copy: Run, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "src", tmp_path / "src")
    shutil.move(base / "src", base / "kept")
    try:
        shutil.copytree(base / "kept", base / "src")
        (base / "src/places/chelsea.png").unlink()
        changed = base / "src/people/london/six_people.jpg"
        changed.write_bytes(changed.read_bytes() + b"\0")
        job = opened(copy)
        found = measured(job)
        assert found.state.unread == {"source_not_found": 1, "source_changed": 1}
        evidence = evidence_of(job, found)
        kept = evidence.figures["utility.ap_kept"]
        assert (
            "50.0 % of the sampled rows could not be measured (source_changed 1, source_not_found 1): too many"
            in kept.note
        )
        assert kept.low is None
        assert evidence.figures["residual.after"].n == 4  # needs no original
        rows = [name for name, _ in evidence.tables["sample.rows"].rows]
        assert any("source_changed" in name for name in rows)
    finally:
        shutil.rmtree(base / "src")
        shutil.move(base / "kept", base / "src")


@pytest.mark.parametrize("damage", ["flip", "remove"])
@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_an_output_that_is_damaged_ends_the_evaluation(base: Path, tmp_path: Path, damage: str, layout: str) -> None:
    run = make(base, f"damaged-{layout}-{damage}", write__layout=layout)
    path = next(own for own in sorted(Path(run.release.uri).rglob("*")) if own.suffix in (".jpg", ".tar"))
    if damage == "remove":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"missing|differs from its sha256|damaged"):
        measured(opened(run))
    shutil.rmtree(run.release.uri)  # because every release that a test leaves is scanned


def test_what_no_ledger_leads_to_says_so(release: Run) -> None:
    job = opened(release, ledger=None)
    evidence = evidence_of(job, measured(job))
    assert evidence.figures["residual.after"].n == 4
    assert "ledger" in evidence.figures["utility.ap_kept"].note
    nothing = opened(release, scorer=None)
    evidence = evidence_of(nothing, measured(nothing))
    assert evidence.figures["residual.after"].value is None
    assert evidence.figures["utility.ap_kept"].value is None


@pytest.mark.parametrize(
    ("options", "repeats"),
    [({}, True), ({"detectors": ["centerface"]}, True), ({"detectors": [{"name": "yunet"}]}, False)],
)
def test_a_detector_that_looked_during_the_run_is_named(release: Run, options: dict[str, Any], repeats: bool) -> None:
    job = opened(release)
    checked = job.config.model_copy(update={"checks": {**job.config.checks, "residual": options}})
    evidence = evidence_of(dataclasses.replace(job, config=checked), measured(job))
    assert ("own residual check looks with this detector" in evidence.figures["residual.after"].note) is repeats


def test_wrong_ledger_unfinished_run_and_unknown_column_are_refused(base: Path, release: Run, copy: Run) -> None:
    other = make(base, "other")
    operator = load_job(None, {"manifest": "none", "output": release.release.uri})
    with pytest.raises(ConfigError, match="the release is of run"):
        open_release_job(release.release, other.ledger, operator, sources={})
    with pytest.raises(ConfigError, match="no such column"):
        open_release_job(release.release, release.ledger, operator, sources={}, label_column="class")
    gpu = load_job(None, {"manifest": "none", "output": "x", "engine.num_gpus": 0.5, "engine.num_cpus": 2})
    engine = open_release_job(release.release, release.ledger, gpu, sources={}).config.engine
    assert (engine.num_gpus, engine.num_cpus) == (0, 2)  # the same figures everywhere
    copy.release.write_run_json(copy.describe())
    with pytest.raises(ConfigError, match="not finished"):
        open_release_job(copy.release, copy.ledger, operator, sources={})


def on_ray(job: ReleaseJob, workers: int) -> ReleaseJob:
    engine = job.config.engine.model_copy(update={"workers": workers})
    return dataclasses.replace(job, config=job.config.model_copy(update={"engine": engine}))


@pytest.mark.full
def test_ray_returns_the_numbers_of_this_process(release: Run) -> None:
    job = opened(release)
    here, spread = numbers(evidence_of(job, measured(job))), on_ray(job, 2)
    assert numbers(evidence_of(spread, measured(spread, task_rows=1))) == here


@pytest.mark.full
def test_the_task_of_a_worker_that_dies_is_measured_again(release: Run) -> None:
    job = opened(release)
    here, spread, killed = numbers(evidence_of(job, measured(job))), on_ray(job, 1), []

    def kill(_: int) -> None:
        if not killed:
            [actor] = actors_of(os.getpid(), "EvaluationActor")
            killed.append(actor.pid)
            actor.kill()

    found = measure_release(spread, Selection(task_rows=1), lambda _: None, kill, lambda _: None)
    assert killed
    assert numbers(evidence_of(spread, found)) == here


def test_the_folder_of_an_id_is_a_class(release: Run) -> None:
    row = next(iter(RowReader(opened(release)).read(ShardSpec(0, 4), (0,), 8)))[0]
    assert label_of(row, "image_id") == row.image_id.rpartition("/")[0] != ""
    assert label_of(dataclasses.replace(row, image_id="a.jpg"), "image_id") is None
    assert label_of(dataclasses.replace(row, extra={"kind": 3}), "kind") == "3"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", "evaluate", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return call


OPTIONS = ("--scorer", "centerface", "--scorer-scale", "1")


def test_the_command_writes_evidence_and_gates(main: Main, copy: Run) -> None:
    output = copy.release.uri
    code, out, err = main(output, *OPTIONS)
    assert (code, "4/4 rows" in err) == (0, True)
    for line in (
        "residual.after",
        "utility.faces_kept",
        "not measured: utility.canary",
        "give --pairs FILE and --embedder FILE",
        "gate     passed   withheld",
    ):
        assert line in out
    evidence = copy.release.read_evidence("evaluation.json")
    assert evidence is not None
    assert evidence.stats_sha256 == copy.release.read_stats().sha256
    assert "signed" not in err
    (Path(output) / "attestation.json").write_text("{}")
    code, out, err = main(output, *OPTIONS, "--json")
    assert json.loads(out)["evaluation"]["figures"].keys() == evidence.figures.keys()
    assert "its signature does not cover the new evaluation.json: sign it again" in err


def test_a_gate_that_evidence_exceeds_returns_10_and_survives_the_next_run(main: Main, copy: Run, base: Path) -> None:
    strict = dataclasses.replace(
        copy, config=copy.config.model_copy(update={"gates": copy.config.gates.model_copy(update={"ap_kept": 0.99})})
    )
    assert not finalize(strict).gates.passed  # not measured yet
    code, out, _ = main(copy.release.uri, *OPTIONS)
    assert (code, "EXCEEDED ap_kept" in out) == (10, True)
    gates = finalize(strict).gates
    assert copy.release.read_evidence("evaluation.json") is not None
    [result] = [own for own in gates.results if own.name == "ap_kept"]
    assert "another state" not in result.note
    part = next(iter(Path(copy.release.uri).glob("provenance/*.parquet")))
    part.unlink()  # so that its rows are redone
    shutil.rmtree(Path(copy.ledger.uri) / "attempts")
    process_all(strict)
    [result] = [own for own in finalize(strict).gates.results if own.name == "ap_kept"]
    assert "measured on another state of this release; repeat `anon-batch evaluate OUTPUT`" in result.note


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--methods", "solid"), "--methods: "),
        (("--sample", "2", "--share", "0.5"), "give one of them"),
        (("--set", "anonymize.face.method=blur"), "settings that it was made with"),
        (("--ledger", "/nowhere"), "no ledger at /nowhere"),
        (("--scorer", "manifest"), "cannot measure its own result"),
        (("--label-column", "class"), "no such column"),
        (("--address", "127.0.0.1:1"), "no Ray cluster answers"),
        (("--pairs", "/nowhere.csv", "--embedder", "/nowhere.onnx"), "/nowhere.csv"),
        (("--features", "/nowhere.onnx"), "/nowhere.onnx"),
    ],
)
def test_wrong_usage_names_what_to_change(main: Main, release: Run, args: tuple[str, ...], said: str) -> None:
    code, _, err = main(release.release.uri, *args)
    assert (code, said in err) == (2, True), err


def test_a_folder_without_a_release_and_options_of_releases_for_a_manifest(
    main: Main, base: Path, tmp_path: Path
) -> None:
    code, _, err = main(str(tmp_path), "--sample", "3")
    assert (code, "--sample: there is no release at" in err) == (2, True)
    code, _, err = main(str(base / "m.parquet"), "--no-ledger")
    assert (code, "--no-ledger: there is no release at" in err) == (2, True)


def test_damage_returns_3_and_writes_nothing(main: Main, copy: Run) -> None:
    path = next(iter(sorted((Path(copy.release.uri) / "images").rglob("*.jpg"))))
    path.write_bytes(path.read_bytes() + b"\0")
    code, _, err = main(copy.release.uri, *OPTIONS)
    assert (code, "differs from its sha256" in err) == (3, True)
    assert copy.release.read_evidence("evaluation.json") is None
    shutil.rmtree(copy.release.uri)  # because every release that a test leaves is scanned


def test_evidence_holds_no_secret_of_the_sources(main: Main, copy: Run, base: Path) -> None:
    main(copy.release.uri, *OPTIONS)
    from leaks import secrets_of

    secrets = [*secrets_of(sorted((base / "src").rglob("*.*")), Path(copy.ledger.uri)), str(base / "src"), "six_people"]
    for name in ("evaluation.json", "gates.json"):
        assert_public((Path(copy.release.uri) / name).read_bytes(), secrets)


@pytest.mark.parametrize("published", [True, False])
def test_names_of_classes_are_written_only_if_their_column_is_published(
    release: Run, tmp_path: Path, published: bool
) -> None:
    graph = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["c"], kernel_shape=[56, 56], strides=[56, 56])],
        "cells",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 3, 2, 2])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "cells.onnx"
    )
    job = opened(release, features=(str(tmp_path / "cells.onnx"),), label_column="owner")
    columns = {"published": ["owner"] if published else [], "withheld": {}}
    job = dataclasses.replace(job, run=dataclasses.replace(job.run, columns=columns))
    found, rng = measured(job), np.random.default_rng(0)
    state = ReleaseState({"anonymized": 80})
    for number in range(80):
        row = rng.normal(size=(2, 12)).astype(np.float32) + number % 2
        values = {"label": f"Owner{number % 2}-Meier", "changed": True, "cells before": row[0], "cells after": row[1]}
        state.utility.images.add(number + 1, values)
    evidence = to_evidence(job, job.release.read_stats(), found.drawn, state, found.models)
    assert len(evidence.tables["utility.classes"].rows) == 2
    assert (b"Owner1-Meier" in evidence.to_json()) is published
