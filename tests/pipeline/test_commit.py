"""The order of writes, and what a rerun makes of the files after a death between any two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from misbehaving_plugin import MisbehavingDetector
from pipeline_fixtures import (
    DyingStorage,
    Killed,
    job,
    on_storage,
    process_all,
    release,
    shards,
    verdict,
    write_dataset,
)
from releases import release_of

from anon_batch.detect.ensemble import Ensemble
from anon_batch.errors import IntegrityError, TransientStorageError
from anon_batch.pipeline.attempts import Attempt, begin_attempt, count_attempts
from anon_batch.pipeline.commit import commit_poison
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardSpec
from anon_batch.storage import PARTIAL_PREFIX, Storage, join

IDS = [f"d/{n}.png" for n in range(4)]
LAYOUTS = ["files", "webdataset", "parquet"]


def _kinds(storage: DyingStorage) -> list[str]:
    """Return what each change wrote: attempts, images, shards, audit or provenance."""
    names = ("attempts", "images", "shards", "audit", "provenance")
    return [next((n for n in names if f"/{n}/" in uri), uri.rpartition("/")[2]) for _, uri in storage.changes]


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    write_dataset(place, IDS)
    return place


@pytest.mark.parametrize("keys", [{"engine__num_cpus": 3}, {"engine__io_threads": 1}, {"detect__batch_size": 1}])
def test_a_release_does_not_depend_on_threads_and_batches(tmp_path: Path, keys: dict[str, Any]) -> None:
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(9)])
    usual, other = release(job(str(tmp_path))), release(job(str(tmp_path), "other", **keys))
    assert release_of(Storage(), usual.release.uri) == release_of(Storage(), other.release.uri)


@pytest.mark.parametrize(
    ("layout", "order"),
    [
        ("files", ["attempts", "images", "images", "images", "images", "audit", "provenance"]),
        ("webdataset", ["attempts", "shards", "audit", "provenance"]),
        ("parquet", ["attempts", "shards", "audit", "provenance"]),
    ],
)
def test_the_provenance_part_is_written_last(base: str, layout: str, order: list[str]) -> None:
    run, _ = open_run(job(base, write__layout=layout), ())
    storage = DyingStorage(run.config.storage)
    assert ShardProcessor(on_storage(run, storage)).process(ShardSpec(0, 4)).outcome == "committed"
    assert _kinds(storage) == order
    assert [kind for kind, _ in storage.changes].count("create") == 2


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rerun_completes_the_release_after_a_death_at_any_change(tmp_path: Path, layout: str, after: bool) -> None:
    base = str(tmp_path)
    write_dataset(base, IDS)
    undisturbed = release_of(Storage(), release(job(base, "undisturbed", write__layout=layout)).release.uri)
    died = 0
    while True:
        config = job(base, f"out{died}", write__layout=layout, engine__io_threads=1)
        dying = DyingStorage(config.storage, died + 1, after=after)
        run, _ = open_run(config, ())
        try:
            process_all(on_storage(run, dying))
            finalize(on_storage(run, dying))
        except Killed:
            died += 1
        else:
            break
        run, _ = open_run(config, ())
        process_all(run)
        finalize(run)
        assert release_of(Storage(), run.release.uri) == undisturbed
        assert verdict(run).faults == []
        assert len(list(Storage().list(join(run.ledger.uri, "audit")))) == len(shards(run))
    assert died >= 6


def test_finalize_can_be_repeated(base: str) -> None:
    run = release(job(base))
    before = release_of(Storage(), run.release.uri)
    finalize(run)
    assert release_of(Storage(), run.release.uri) == before


def test_finalize_refuses_rows_without_a_commit(base: str) -> None:
    run, _ = open_run(job(base), ())
    with pytest.raises(IntegrityError, match="rows 0 to 3 have no commit"):
        finalize(run)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_attempt_that_commits_second_leaves_no_orphans(
    base: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = open_run(job(base, write__layout=layout), ())
    winner, loser, spec = ShardProcessor(run), ShardProcessor(run), ShardSpec(0, 4)
    real = Storage.put_if_absent
    raced: list[str] = []

    def race(self: Storage, uri: str, data: bytes) -> None:
        if "/provenance/" in uri and not raced:
            raced.append(uri)
            assert winner.process(spec).outcome == "committed"
        real(self, uri, data)

    monkeypatch.setattr(Storage, "put_if_absent", race)
    assert loser.process(spec).outcome == "already_committed"
    monkeypatch.undo()
    finalize(run)
    assert verdict(run).faults == []
    assert len(list(Storage().list(join(run.ledger.uri, "audit")))) == 1
    assert len(list(Storage().list(join(run.release.uri, "shards")))) == (layout != "files")
    assert winner.process(spec).outcome == "already_committed"


def test_images_of_rows_that_failed_in_a_later_attempt_are_deleted(base: str) -> None:
    run, _ = open_run(job(base), ())
    dying = DyingStorage(run.config.storage, 6)  # after the images, before the audit
    with pytest.raises(Killed):
        ShardProcessor(on_storage(run, dying)).process(ShardSpec(0, 4))
    assert len(list(Storage().list(join(run.release.uri, "images")))) == 4
    Storage().delete(join(base, "src/d/1.png"))
    process_all(run)
    stats, _ = finalize(run)
    assert stats.statuses == {"anonymized": 2, "clean": 1, "withheld": 0, "failed": 1}
    assert not Storage().exists(join(run.release.uri, "images/d/1.png"))
    assert verdict(run).faults == []


def test_superseded_parts_are_deleted(base: str) -> None:
    run, _ = open_run(job(base), ())
    processor = ShardProcessor(run)
    for spec in (ShardSpec(1, 1), ShardSpec(0, 4), ShardSpec(3, 1)):
        assert processor.process(spec).outcome == "committed"
    finalize(run)
    assert [info.key for info in Storage().list(join(run.release.uri, "provenance"))] == ["0000000000-4.parquet"]
    assert len(list(Storage().list(join(run.ledger.uri, "audit")))) == 1
    result = verdict(run)
    assert (result.faults, result.accounted) == ([], 4)


def test_half_written_files_are_deleted(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path)))
    for place in (run.release.uri, run.ledger.uri):
        Storage().put(join(place, f"provenance/{PARTIAL_PREFIX}abc"), b"half")
    finalize(run)
    assert verdict(run).faults == []


def test_attempts_are_counted_by_invocation_and_limited(base: str) -> None:
    run, _ = open_run(job(base, engine__attempts=2), ())
    spec = ShardSpec(0, 4)
    assert begin_attempt(run.ledger, spec, "a", 2) == Attempt("a-1", is_last=False)
    assert begin_attempt(run.ledger, spec, "a", 2) == Attempt("a-2", is_last=True)
    assert begin_attempt(run.ledger, spec, "a", 2) is None
    assert begin_attempt(run.ledger, spec, "b", 2) == Attempt("b-1", is_last=False)
    assert begin_attempt(run.ledger, ShardSpec(0, 1), "b", 2) == Attempt("b-1", is_last=False)
    assert count_attempts(run.ledger, "a", 2) == (4, {spec})
    assert count_attempts(run.ledger, "b", 2) == (4, set())
    assert count_attempts(run.ledger, "b", 1) == (4, {spec, ShardSpec(0, 1)})


def test_half_written_markers_are_not_counted_and_missing_numbers_not_reused(base: str) -> None:
    run, _ = open_run(job(base), ())
    spec, storage = ShardSpec(0, 4), run.storage
    folder = join(run.ledger.uri, f"attempts/{spec.name}")
    for name in ("a-1", "a-3", f"{PARTIAL_PREFIX}ff", f"{PARTIAL_PREFIX}ee"):
        storage.put(join(folder, name), b"x")
    assert begin_attempt(run.ledger, spec, "a", 3) == Attempt("a-4", is_last=True)
    assert count_attempts(run.ledger, "a", 3) == (3, {spec})
    assert count_attempts(run.ledger, "a", 4) == (3, set())
    assert begin_attempt(run.ledger, spec, "a", 3) is None


def test_a_row_without_attempts_left_is_committed_as_poison(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = open_run(job(base, engine__attempts=2), ())
    processor, spec = ShardProcessor(run), ShardSpec(2, 1)

    def broken(*_: object) -> Any:
        raise RuntimeError("cannot go on")

    monkeypatch.setattr(processor, "_finish_all", broken)
    assert [processor.process(spec).outcome for _ in range(3)] == ["error", "error", "exhausted"]
    assert commit_poison(run, spec).statuses == {"failed": 1}
    monkeypatch.setattr("anon_batch.pipeline.commit.now", lambda: "2030-01-01T00:00:00+00:00")
    assert commit_poison(run, spec).outcome == "already_committed"
    monkeypatch.undo()
    for other in (ShardSpec(0, 1), ShardSpec(1, 1), ShardSpec(3, 1)):
        processor.process(other)
    stats, _ = finalize(run)
    assert stats.summary["reasons"] == {"failed": {"poison": 1}}
    assert verdict(run).faults == []


def test_a_source_that_keeps_failing_is_retried_and_ends_as_failed(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = open_run(job(base, engine__attempts=2), ())
    processor, real = ShardProcessor(run), Storage.read

    def flaky(self: Storage, uri: str, offset: int | None = None, length: int | None = None) -> bytes:
        if uri.endswith("src/d/2.png"):
            raise TransientStorageError("503", uri)
        return real(self, uri, offset, length)

    monkeypatch.setattr(Storage, "read", flaky)
    first = processor.process(ShardSpec(2, 1))
    assert (first.outcome, first.retryable) == ("error", True)
    last = processor.process(ShardSpec(2, 1))
    assert (last.outcome, last.statuses) == ("committed", {"failed": 1})


def test_a_damaged_ledger_is_not_retried(base: str) -> None:
    run, _ = open_run(job(base), ())
    [info] = run.ledger.objects("rows")
    Storage().put(run.ledger.address(f"rows/{info.key}"), b"damaged")
    result = ShardProcessor(run).process(ShardSpec(0, 4))
    assert (result.outcome, result.retryable) == ("error", False)
    assert "Traceback" not in (result.error or "")


def test_a_detector_error_with_odd_text_withholds_one_row_only(base: str) -> None:
    run, _ = open_run(job(base), ())
    processor = ShardProcessor(run)

    class Odd(MisbehavingDetector):
        def detect(self, images: Any) -> Any:
            if any(image.image_id == "d/2.png" for image in images):
                raise RuntimeError("lone surrogate \udcff, NUL \0")
            return super().detect(images)

    processor.anonymizer.detector = Ensemble([Odd()], 0.4, 0.0)
    result = processor.process(ShardSpec(0, 4))
    assert (result.outcome, result.statuses) == ("committed", {"anonymized": 3, "withheld": 1})
