"""Release and Ledger: one object for each place, the same on a folder, in memory and after pickling."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.part import PartMeta
from anon_batch.formats.plan import Plan
from anon_batch.formats.provenance import write_provenance
from anon_batch.formats.release import Release
from anon_batch.records import ProvenanceRow, ShardSpec
from anon_batch.storage import PARTIAL_PREFIX, Storage

SPEC = ShardSpec(0, 1)


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def _part(spec: ShardSpec, attempt: str = "a-1") -> bytes:
    import pyarrow as pa

    meta = PartMeta(spec.name, attempt, "run", "2024-01-01T00:00:00+00:00", "{}")
    return write_provenance([ProvenanceRow("a", "failed", "empty")], pa.schema([]), [], "1", meta)


def test_the_first_commit_of_a_shard_counts(base: str) -> None:
    release = Release(Storage(), base)
    assert release.is_empty()
    assert not release.has_part(SPEC)
    assert release.commit_part(SPEC, _part(SPEC, "a-1"))
    assert not release.commit_part(SPEC, _part(SPEC, "b-1"))
    assert release.has_part(SPEC)
    assert not release.is_empty()
    meta, table = release.read_part(SPEC)
    assert (meta.attempt, table.column("image_id").to_pylist()) == ("a-1", ["a"])
    assert release.parts() == [SPEC]
    assert list(release.read_metas([SPEC])) == [(SPEC, meta)]


def test_a_part_under_the_name_of_another_shard_is_refused(base: str) -> None:
    release = Release(Storage(), base)
    release.commit_part(ShardSpec(5, 1), _part(SPEC))
    with pytest.raises(IntegrityError, match=f"holds shard {SPEC.name}"):
        list(release.read_metas([ShardSpec(5, 1)]))


def test_missing_json_files(base: str) -> None:
    release = Release(Storage(), base)
    with pytest.raises(ConfigError, match="no release here"):
        release.read_run_json()
    with pytest.raises(IntegrityError, match=r"stats\.json: missing"):
        release.read_stats()
    assert release.read_gates() is None
    gates = Gates((GateResult("failed", "at_most", 0.01, 0.5, False),))
    release.write_gates(gates)
    assert release.read_gates() == gates


def test_the_first_plan_and_the_first_run_key_count(base: str) -> None:
    ledger = Ledger(Storage(), base)
    assert (ledger.exists(), ledger.plan(), ledger.run_key()) == (False, None, None)
    first, second = (Plan(name, 1, 1, (), {}, "rows", "2024-01-01T00:00:00+00:00") for name in ("first", "second"))
    assert ledger.publish_plan(first) == first
    assert ledger.publish_plan(second) == first
    assert (ledger.exists(), ledger.plan()) == (True, first)
    ledger.create_key(layout.LEDGER_RUN_KEY)
    key = ledger.run_key()
    ledger.create_key(layout.LEDGER_RUN_KEY)
    assert ledger.run_key() == key
    assert len(key or b"") == 32


def test_only_one_worker_gets_the_name_of_an_attempt(base: str) -> None:
    ledger = Ledger(Storage(), base)
    assert ledger.mark_attempt(SPEC, "a-1")
    assert not ledger.mark_attempt(SPEC, "a-1")
    Storage().put(ledger.address(f"attempts/{SPEC.name}/{PARTIAL_PREFIX}x"), b"")
    assert ledger.attempts_at(SPEC) == ["a-1"]
    assert list(ledger.attempts()) == [(SPEC, "a-1")]


def test_they_can_be_pickled_and_take_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    release = pickle.loads(pickle.dumps(Release(Storage(), "out/")))
    ledger = pickle.loads(pickle.dumps(Ledger(Storage(), "out-ledger//")))
    assert (release.uri, ledger.uri) == (str(tmp_path / "out"), str(tmp_path / "out-ledger"))
    release.put("images/a.png", b"x")
    assert release.read("images/a.png") == (tmp_path / "out/images/a.png").read_bytes()
    assert [info.key for info in release.objects("images")] == ["a.png"]
    release.delete(["images/a.png", "images/missing.png"])
    assert list(release.objects("images")) == []
