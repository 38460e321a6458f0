"""Start, resume and refuse runs; a start that dies anywhere can be repeated; two concurrent starts agree."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pipeline_fixtures import (
    DyingStorage,
    Killed,
    job,
    process_all,
    release,
    verdict,
    write_dataset,
)

from anon_batch.config import JobConfig, StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    AnonBatchError,
    ConfigError,
    IntegrityError,
    ManifestError,
    ResumeRefusedError,
)
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import PLAN_VERSION, Plan
from anon_batch.formats.release import Release
from anon_batch.pipeline import fingerprint as fingerprint_module
from anon_batch.pipeline import run as run_module
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.storage import Storage, join

IDS = [f"{n}.png" for n in range(6)]
MODELS = ("net@" + "0" * 64,)


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    write_dataset(place, IDS)
    return place


def _refusal(config: JobConfig, models: tuple[str, ...] = MODELS) -> str:
    with pytest.raises(ResumeRefusedError) as caught:
        open_run(config, models)
    return str(caught.value)


def test_a_second_start_resumes_the_first(base: str) -> None:
    fresh, resumed = open_run(job(base), MODELS)
    assert not resumed
    again, resumed = open_run(job(base, engine__workers=7, storage__retries=3, engine__io_threads=1), MODELS)
    assert resumed
    assert again.plan == fresh.plan
    assert again.invocation != fresh.invocation
    assert fresh.release.read_run_json().state == "running"


def test_a_resumed_run_does_not_write_the_rows_again(base: str) -> None:
    run, _ = open_run(job(base), MODELS)
    before = [info.key for info in Storage().list(join(run.ledger.uri, "rows"))]
    open_run(job(base), MODELS)
    assert [info.key for info in Storage().list(join(run.ledger.uri, "rows"))] == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"anonymize__face__method": "blur"}, ["anonymize.face.method", '"solid"', '"blur"']),
        ({"anonymize__face__expansion": 2}, ["anonymize.face.expansion", "null", "2.0"]),
        ({"write__layout": "webdataset"}, ["write.layout"]),
        ({"engine__shard_rows": 2}, ["engine.shard_rows", "was 4, is 2"]),
        ({"limits__max_pixels": 10}, ["limits.max_pixels"]),
        ({"name": "other"}, ["name"]),
    ],
)
def test_another_configuration_is_refused_and_named(base: str, change: dict[str, Any], named: list[str]) -> None:
    open_run(job(base), MODELS)
    message = _refusal(job(base, **change))
    assert all(text in message for text in named), message


def test_another_manifest_model_key_or_package_is_refused_and_named(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_run(job(base), MODELS)
    assert "models" in _refusal(job(base), ("net@" + "1" * 64,))
    Storage().put(join(base, "key"), b"x" * 32)
    message = _refusal(job(base))
    assert "run key" in message
    assert "kkkk" not in message
    assert "xxxx" not in message
    write_dataset(base, IDS, label=pa.array([1, 2, 3, 4, 5, 6]))
    assert re.search(r"manifest rows: was \"[0-9a-f]{8}\", is \"[0-9a-f]{8}\"", _refusal(job(base)))
    write_dataset(base, IDS[:5])
    assert "manifest row count: was 6, is 5" in _refusal(job(base))
    write_dataset(base, IDS)
    monkeypatch.setattr(fingerprint_module, "__version__", "99.0")
    assert "package version" in _refusal(job(base))


def test_a_long_list_of_differences_is_shortened(base: str) -> None:
    open_run(job(base), MODELS)
    message = _refusal(
        job(
            base,
            anonymize__face__method="blur",
            anonymize__face__expansion=2,
            anonymize__face__shape="rectangle",
            anonymize__face__soft_edge=0.1,
            anonymize__face__min_score=0.2,
            write__quality=80,
            write__layout="parquet",
            write__format="jpeg",
            name="n",
            limits__max_bytes=5,
        )
    )
    assert "and 2 more" in message


def test_an_output_whose_ledger_is_lost_is_refused(base: str) -> None:
    run, _ = open_run(job(base), MODELS)
    for info in list(Storage().list(run.ledger.uri)):
        Storage().delete(join(run.ledger.uri, info.key))
    assert "ledger" in _refusal(job(base))
    assert "ledger" in _refusal(job(base, ledger=join(base, "elsewhere")))


@pytest.mark.parametrize("left", ["provenance/0000000000-4.parquet", "images/a.png", "shards/x.tar"])
def test_files_of_something_else_in_output_are_refused(base: str, left: str) -> None:
    Storage().put(join(base, f"out/{left}"), b"of something else")
    assert "out is not empty and holds no release (no run.json)" in _refusal(job(base))


def test_finalize_refuses_a_part_of_another_run(base: str) -> None:
    run = release(job(base))
    other = release(job(base, "other"))
    [part] = [i.key for i in Storage().list(join(other.release.uri, "provenance")) if i.key.startswith("0000000000")]
    Storage().put(
        join(run.release.uri, f"provenance/{part}"), Storage().read(join(other.release.uri, f"provenance/{part}"))
    )
    with pytest.raises(IntegrityError, match=other.plan.run_id):
        finalize(run)


@pytest.mark.parametrize(
    ("output", "ledger", "said"),
    [
        ("out", "out", "inside"),
        ("out", "out/ledger", "inside output"),
        ("out/in", "out", "inside ledger"),
        ("out/", "out//", "inside"),
    ],
)
def test_output_and_ledger_inside_each_other_are_refused(base: str, output: str, ledger: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_run(job(base, output, ledger=join(base, ledger)), MODELS)
    assert not list(Storage().list(join(base, "out")))


def test_output_and_ledger_with_a_common_prefix_are_accepted(base: str) -> None:
    open_run(job(base, "out", ledger=join(base, "out-private")), MODELS)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"output": "src"}, "output .*src holds .*src/0.png, a source of the manifest. It would be published"),
        ({"output": "o", "ledger": "src"}, "ledger .*src holds .*src/0.png, a source"),
        ({"output": "deep"}, "output .*deep holds .*deep/er/3.png"),
        ({"output": "files"}, "output .*files holds .*files/a.tar, a source"),
    ],
)
def test_an_output_or_ledger_that_holds_a_source_is_refused(base: str, keys: dict[str, str], said: str) -> None:
    uris = [join(base, f"src/{name}") for name in IDS]
    uris[3], uris[4] = join(base, "deep/er/3.png"), join(base, "files/a.tar")
    write_dataset(base, IDS, uri=pa.array(uris))
    ledger = join(base, keys.get("ledger", "private"))
    with pytest.raises(ConfigError, match=said):
        open_run(job(base, keys["output"], ledger=ledger), MODELS)
    assert not list(Storage().list(join(ledger, "rows")))


def test_a_source_in_output_is_found_whatever_its_spelling(tmp_path: Path) -> None:
    base = str(tmp_path)
    for uri in (f"{base}/src/../out/0.png", f"{base}//out/0.png", "out/0.png", f"file://{base}/out/./0.png"):
        write_dataset(base, ["0.png"], uri=pa.array([uri]))
        with pytest.raises(ConfigError, match=r"holds .*/out/0\.png"):
            open_run(job(base), MODELS)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_dataset(base, ["0.png"], uri=pa.array([f"{base}/real/0.png"]))
    with pytest.raises(ConfigError, match=r"link holds .*real/0\.png"):
        open_run(job(base, "link"), MODELS)


def test_a_refused_ledger_keeps_its_permissions(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    before = (tmp_path / "src").stat().st_mode
    with pytest.raises(ConfigError, match="holds"):
        open_run(job(str(tmp_path), ledger=f"{tmp_path}/src"), MODELS)
    assert (tmp_path / "src").stat().st_mode == before


def test_a_folder_beside_the_sources_with_a_common_prefix_is_accepted(base: str) -> None:
    open_run(job(base, "sr", ledger=join(base, "src-ledger")), MODELS)


def test_a_manifest_inside_the_output_is_refused(base: str) -> None:
    Storage().put(join(base, "out/m.parquet"), Storage().read(join(base, "m.parquet")))
    with pytest.raises(ConfigError, match="lies inside output"):
        open_run(job(base, manifest=join(base, "out/m.parquet")), MODELS)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("make_private", r"the ledger cannot be written: denied; or choose another place with `ledger` or --output"),
        ("put", r"the release cannot be written: denied; or choose another place with --output"),
    ],
)
def test_an_output_or_ledger_that_cannot_be_written_names_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, said: str
) -> None:
    write_dataset(str(tmp_path), IDS)
    storage, real = Storage(), getattr(Storage, call)

    def denied(uri: str, *rest: bytes) -> None:
        if call == "put" and not uri.endswith("run.json"):
            real(storage, uri, *rest)
            return
        raise AccessDeniedError("denied", uri)

    monkeypatch.setattr(storage, call, denied)
    with pytest.raises(AccessDeniedError, match=said):
        open_run(job(str(tmp_path)), MODELS, storage)


def test_a_short_run_key_is_refused(base: str) -> None:
    Storage().put(join(base, "key"), b"short")
    with pytest.raises(ConfigError, match="needs at least 32"):
        open_run(job(base), MODELS)


def test_a_run_without_its_run_key_cannot_be_resumed(base: str) -> None:
    config = job(base, run_key_file=None)
    run, _ = open_run(config, MODELS)
    assert len(run.run_key) == 32
    assert run.run_key == open_run(config, MODELS)[0].run_key
    assert "run_key=" not in repr(run)
    Storage().delete(join(run.ledger.uri, "run.key"))
    assert "destroyed" in _refusal(config)
    assert not Storage().exists(join(run.ledger.uri, "run.key")), "a new key must not appear"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b'{"version": 2}', b'{"version": 2, "models": 3}', b"\xff"])
def test_a_damaged_plan_is_an_integrity_error(base: str, data: bytes) -> None:
    run, _ = open_run(job(base), MODELS)
    Storage().put(join(run.ledger.uri, "plan.json"), data)
    with pytest.raises(IntegrityError, match=r"plan\.json"):
        open_run(job(base), MODELS)


@pytest.mark.parametrize(("version", "advice"), [(1, "older version"), (PLAN_VERSION + 1, "Update anon-batch")])
def test_a_plan_of_another_version_is_refused_with_advice(base: str, version: int, advice: str) -> None:
    run, _ = open_run(job(base), MODELS)
    uri = join(run.ledger.uri, "plan.json")
    Storage().put(uri, json.dumps({**json.loads(Storage().read(uri)), "version": version}).encode())
    assert advice in _refusal(job(base))


def test_an_invalid_manifest_leaves_no_plan(base: str) -> None:
    write_dataset(base, ["a.png", "b.png"], image_id=pa.array(["a.png", "../b.png"]))
    with pytest.raises(ManifestError):
        open_run(job(base), MODELS)
    assert not Storage().exists(join(base, "out-ledger/plan.json"))
    assert not Storage().exists(join(base, "out/run.json"))
    write_dataset(base, ["a.png", "b.png"])
    run = release(job(base))
    assert verdict(run).faults == []
    assert len({info.key.split("/")[0] for info in Storage().list(join(run.ledger.uri, "rows"))}) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 5))
def test_a_start_that_dies_at_any_write_can_be_repeated(base: str, dies_at: int, after: bool) -> None:
    config = job(base, run_key_file=None)
    dying = DyingStorage(config.storage, dies_at, after=after)
    with pytest.raises(Killed):
        open_run(config, MODELS, dying)
    assert [uri.rpartition("/")[2] for _, uri in dying.changes] == (
        ["0000000000-6.parquet", "run.key", "plan.json", "run.json"][:dies_at]
    )
    run, _ = open_run(config, MODELS)
    process_all(run)
    finalize(run)
    assert verdict(run).faults == []


def _start_together(configs: list[JobConfig], monkeypatch: pytest.MonkeyPatch) -> list[Run | AnonBatchError]:
    """Both have seen that there is no plan before either writes one."""
    barrier, real = threading.Barrier(len(configs)), run_module.scan_manifest
    found: list[Any] = [None] * len(configs)

    def scan(*args: Any) -> Any:
        rows = real(*args)
        barrier.wait(20)
        return rows

    monkeypatch.setattr(run_module, "scan_manifest", scan)

    def start(index: int) -> None:
        try:
            found[index] = open_run(configs[index], MODELS)[0]
        except AnonBatchError as exc:
            found[index] = exc

    threads = [threading.Thread(target=start, args=(index,)) for index in range(len(configs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_drivers_that_start_at_once_get_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(str(tmp_path), IDS)
    config = job(str(tmp_path), run_key_file=None)
    first, second = _start_together([config, config], monkeypatch)
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    assert first.plan == second.plan
    assert first.run_key == second.run_key
    process_all(second)
    finalize(first)
    assert verdict(first).faults == []


def test_the_second_of_two_different_jobs_for_one_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser has read another manifest of as many rows: its rows must not get under the winner's plan."""
    base = str(tmp_path)
    write_dataset(base, [f"other/{n}.png" for n in range(6)])
    Storage().put(join(base, "m2.parquet"), Storage().read(join(base, "m.parquet")))
    write_dataset(base, IDS)
    configs = [job(base), job(base, manifest=join(base, "m2.parquet"))]
    found = _start_together(configs, monkeypatch)
    [run] = [x for x in found if isinstance(x, Run)]
    [refused] = [x for x in found if isinstance(x, ResumeRefusedError)]
    assert "manifest rows" in str(refused)
    process_all(run)
    finalize(run)
    result = verdict(run)
    assert result.faults == []
    names = {info.key for info in Storage().list(join(run.release.uri, "images"))}
    assert names == set(IDS) if run.config is configs[0] else {f"other/{n}.png" for n in range(6)}


def test_a_driver_joins_a_run_of_the_same_job_that_started_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(str(tmp_path), IDS)
    real = Ledger.plan

    def find_nothing_at_first(self: Ledger) -> Plan | None:
        monkeypatch.setattr(Ledger, "plan", real)
        open_run(job(str(tmp_path)), MODELS)  # by another driver, a moment later
        return None

    monkeypatch.setattr(Ledger, "plan", find_nothing_at_first)
    run, resumed = open_run(job(str(tmp_path)), MODELS)
    assert resumed
    assert run.plan == run.ledger.plan()


def test_secrets_of_the_storage_options_are_not_written(base: str) -> None:
    options = {"s3://b/": {"key": "AKIDSECRET", "secret": "SECRETSECRET"}}
    run, _ = open_run(job(base, storage__options=options), MODELS)
    process_all(run)
    finalize(run)
    for place in (run.release.uri, run.ledger.uri):
        for info in Storage().list(place):
            assert b"SECRET" not in Storage().read(join(place, info.key)), info.key
    assert "SECRET" not in repr(run)
    assert "SECRET" not in repr(StorageConfig(options=options))
    assert "SECRET" not in json.dumps(dict(run.plan.fingerprint))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"rows": true}', b'{"rows": -4}', b'{"rows": 6}', b"\xff\xfe"])
def test_a_damaged_run_json_is_an_integrity_error(base: str, data: bytes) -> None:
    run, _ = open_run(job(base), MODELS)
    Storage().put(join(run.release.uri, "run.json"), data)
    with pytest.raises(IntegrityError, match=r"run\.json"):
        run.release.read_run_json()


def test_no_release(base: str) -> None:
    with pytest.raises(ConfigError, match="no release"):
        Release(Storage(), join(base, "nothing")).read_run_json()


def test_a_run_that_finds_nothing_to_do_changes_no_byte_of_its_release(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    config = job(str(tmp_path))
    run = release(config)
    path = Path(run.release.uri) / "run.json"
    path.write_bytes(path.read_bytes().replace(b'"finished_at": "2', b'"finished_at": "1'))  # another time than now
    before = {found: found.read_bytes() for found in Path(run.release.uri).rglob("*") if found.is_file()}
    again, resumed = open_run(config, ())
    assert resumed
    assert path.read_bytes() == before[path]
    finalize(again)
    assert {found: found.read_bytes() for found in Path(run.release.uri).rglob("*") if found.is_file()} == before


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_description_of_a_finished_run_is_written_again(tmp_path: Path, damage: bytes) -> None:
    write_dataset(str(tmp_path), ["a.png"])
    config = job(str(tmp_path))
    path = Path(release(config).release.uri) / "run.json"
    path.write_bytes(damage)
    finalize(open_run(config, ())[0])
    assert b'"state": "finished"' in path.read_bytes()
