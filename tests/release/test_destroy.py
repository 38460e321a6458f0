"""`keys destroy` deletes what it says, nothing else, and leaves a record that is never more than the truth."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import s3fs
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_fixtures import DyingStorage, Killed, job, release, write_dataset
from servers import S3Server
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.config import StorageConfig
from anon_batch.errors import AccessDeniedError, AnonBatchError, ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats.destroyed_json import LEDGER, RUN_KEY, Destroyed, Destruction
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.version_plan import VersionPlan
from anon_batch.pipeline.run import open_run
from anon_batch.release.destroy import Destroyer
from anon_batch.storage import Storage, join

IDS = [f"{n}.png" for n in range(6)]
WHO = "Jane Doe, data protection"


def run(*args: object, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args], input=typed)
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path), "o", run_key_file=None))
    return tmp_path


def things(folder: Path) -> dict[str, dict[str, object]]:
    path = folder / "o/destroyed.json"
    return {own["what"]: own for own in json.loads(path.read_bytes())["things"]} if path.exists() else {}


def destroy(folder: Path, what: str, *more: object) -> tuple[int, str]:
    return run("keys", "destroy", what, folder / "o", "--by", WHO, "--yes", *more)


def test_the_run_key_alone(made: Path) -> None:
    code, said = destroy(made, "run-key")
    assert (code, "run key: deleted 1 object" in said) == (0, True)
    assert not (made / "o-ledger/run.key").exists()
    assert (made / "o-ledger/plan.json").exists()
    assert things(made)["run key"]["said_by"] == WHO
    assert things(made)["run key"]["complete"] is True
    assert run("verify", made / "o")[0] == 0
    with pytest.raises(ResumeRefusedError, match="the run key of this release was destroyed"):
        open_run(job(str(made), "o", run_key_file=None), ())


def test_the_ledger_with_the_run_key_in_it(made: Path) -> None:
    for name in ("audit/.partial-1", ".partial-2"):
        (made / "o-ledger" / name).write_bytes(b"half of a part")
    Ledger(Storage(), str(made / "o-ledger")).put_driver_log(datetime.now(UTC), "abc", "it starts")
    code, said = destroy(made, "ledger")
    assert (code, "ledger: deleted" in said, "run key: deleted 1 object" in said) == (0, True, True)
    assert not (made / "o-ledger").exists()
    assert set(things(made)) == {"run key", "ledger"}
    code, said = run("verify", made / "o")
    assert (code, "it was destroyed" in said) == (2, True)
    assert run("verify", made / "o", "--no-ledger")[0] == 0
    with pytest.raises(ResumeRefusedError, match="was destroyed"):
        open_run(job(str(made), "o", run_key_file=None), ())
    assert "its ledger was destroyed" in run("erase", made / "o", "--ids", "0.png")[1]
    before = things(made)
    assert destroy(made, "ledger")[0] == 0
    assert things(made) == before


@pytest.mark.parametrize("until", ["2026-01-31", "9999-12-31", date(2026, 1, 31)])
def test_a_ledger_that_outlives_the_owners_word_is_a_fault(tmp_path: Path, until: str | date) -> None:
    write_dataset(str(tmp_path), IDS[:2])
    release(job(str(tmp_path), "o", run_key_file=None, compliance={"retention_until": until}))
    code, said = run("verify", tmp_path / "o")
    is_over = "9999" not in str(until)
    assert (code, "the ledger is destroyed by 2026-01-31, and nothing says that it was" in said) == (
        3 * is_over,
        is_over,
    )
    assert run("verify", tmp_path / "o", "--no-ledger")[0] == 3 * is_over
    assert destroy(tmp_path, "ledger")[0] == 0
    assert run("verify", tmp_path / "o", "--no-ledger")[0] == 0


@pytest.mark.parametrize("until", ["soon", "2026-02-30", "31.12.2028", "20281231", 5])
def test_a_date_that_is_none_is_refused(tmp_path: Path, until: object) -> None:
    with pytest.raises(ConfigError, match=r"expected a date such as 2028-12-31|expected text"):
        job(str(tmp_path), compliance={"retention_until": until})


def test_nothing_goes_without_a_yes(made: Path) -> None:
    (made / "o-ledger/.partial-1").write_bytes(b"half a plan")
    before = set(made.rglob("*"))
    code, said = run("keys", "destroy", "ledger", made / "o", "--by", WHO, typed="n\n")
    assert (code, "nothing was deleted" in said) == (2, True)
    assert set(made.rglob("*")) == before


@pytest.mark.parametrize("who", ["", "  ", "\u202e", "an anonymous person"])
def test_somebody_must_answer_for_the_copies(made: Path, who: str) -> None:
    code, said = run("keys", "destroy", "ledger", made / "o", "--by", who, "--yes")
    assert (code, said.startswith("--by: ")) == (2, True)
    assert (made / "o-ledger/plan.json").exists()


def test_other_ledgers_other_files_and_unfinished_runs_are_refused(made: Path) -> None:
    release(job(str(made), "p", run_key_file=None))
    assert "is of run" in destroy(made, "ledger", "--ledger", made / "p-ledger")[1]
    assert "no ledger at" in destroy(made, "ledger", "--ledger", made / "nowhere")[1]
    assert "no ledger at" in destroy(made, "run-key", "--ledger", made / "nowhere")[1]
    (made / "o-ledger/notes.txt").write_text("mine")
    code, said = destroy(made, "ledger")
    assert (code, "not of the ledger: notes.txt" in said) == (2, True)
    (made / "o-ledger/notes.txt").unlink()
    begun = VersionPlan(2, "erase", {}, "0" * 64)
    Ledger(Storage(), str(made / "o-ledger")).publish_version_plan(begun)
    assert "version 2 of" in destroy(made, "ledger")[1]
    (made / "o-ledger/versions/2.json").unlink()
    record = json.loads((made / "o/run.json").read_bytes())
    (made / "o/run.json").write_text(json.dumps({**record, "state": "running"}))
    assert "not finished" in destroy(made, "ledger")[1]
    assert (made / "o-ledger/run.key").exists()
    assert things(made) == {}


def test_what_was_destroyed_by_hand_is_recorded_on_a_word(made: Path) -> None:
    assert "is still at" in destroy(made, "ledger", "--already-destroyed")[1]
    (made / "o-ledger/run.key").unlink()
    assert "--already-destroyed" in destroy(made, "run-key")[1]
    assert destroy(made, "run-key", "--already-destroyed")[0] == 0
    shutil.rmtree(made / "o-ledger")
    assert destroy(made, "ledger", "--already-destroyed")[0] == 0
    assert {name: own["deleted_count"] for name, own in things(made).items()} == {"run key": 0, "ledger": 0}


def test_a_key_of_the_users_own_is_not_taken_for_destroyed(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path), "o"))  # with a file of its own as run key
    code, said = destroy(tmp_path, "ledger")
    assert (code, "keys destroy run-key OUTPUT --already-destroyed" in said) == (0, True)
    assert set(things(tmp_path)) == {"ledger"}
    assert destroy(tmp_path, "run-key", "--already-destroyed")[0] == 0
    assert set(things(tmp_path)) == {"ledger", "run key"}


def test_a_record_that_is_not_true_is_a_fault(made: Path) -> None:
    shutil.copytree(made / "o-ledger", made / "backup")
    assert destroy(made, "ledger")[0] == 0
    code, said = run("verify", made / "o", "--ledger", made / "backup")
    assert code == 3
    assert "says that the ledger was destroyed, but" in said
    assert "says that the run key was destroyed, but" in said


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1, "run_id": "x", "things": []}', b'{"version": 1}'])
def test_a_damaged_or_foreign_record_is_a_fault(made: Path, content: bytes) -> None:
    (made / "o/destroyed.json").write_bytes(content)
    assert run("verify", made / "o", "--no-ledger")[0] == 3
    with pytest.raises(IntegrityError):
        Release(Storage(), str(made / "o")).read_destroyed("y")


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            Destruction,
            what=st.sampled_from([LEDGER, RUN_KEY, "link key"]),
            destroyed_at=st.just("2026-01-02T03:04:05+00:00"),
            said_by=st.text(min_size=1),
            deleted_count=st.integers(0, 9),
            versions_left=st.none() | st.integers(0, 9),
            complete=st.booleans(),
        ),
        unique_by=lambda own: own.what,
    )
)
def test_records_are_read_back(things: list[Destruction]) -> None:
    record = Destroyed("r", tuple(things))
    assert Destroyed.from_json(record.to_json(), "u") == record
    for own in things:
        assert own.counts == (own.complete and own.versions_left in (None, 0))


def test_killed_at_any_step_the_same_command_ends_it(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path), "o", run_key_file=None))
    config, steps = StorageConfig(retries=0, retry_for_s=0), 0
    while True:
        folder = tmp_path / f"try{steps}"
        for name in ("o", "o-ledger"):
            shutil.copytree(tmp_path / name, folder / name)
        dying = DyingStorage(config, steps + 1, after=bool(steps % 2))
        private = Ledger(dying, str(folder / "o-ledger"))
        try:
            Destroyer(Release(dying, str(folder / "o")), private, WHO).destroy(LEDGER)
            break
        except Killed:
            pass
        left = [path for path in (folder / "o-ledger").rglob("*") if path.is_file()]
        for what, own in things(folder).items():
            gone = not (folder / "o-ledger/run.key").exists() if what == "run key" else not left
            assert gone or not own["complete"], (steps, what, left)
        assert destroy(folder, "ledger")[0] == 0
        assert {own["complete"] for own in things(folder).values()} == {True}
        assert set(things(folder)) == {"ledger", "run key"}
        assert not (folder / "o-ledger").exists()
        steps += 1
    assert steps > 8


def test_versions_in_a_bucket_are_deleted_or_counted(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = "destroy"
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # because it would find the server of the test before
    with s3.client() as client:
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        base, storage = f"s3://{bucket}/a", Storage(s3.config())
        write_dataset(base, IDS)
        release(job(base, "o", run_key_file=None))
        storage.put(join(base, "o-ledgers"), b"a neighbour")
        storage.put(join(base, "o-ledger/run.key.txt"), b"x")
        storage.delete(join(base, "o-ledger/run.key.txt"))
        destroyer = Destroyer(Release(storage, f"{base}/o"), Ledger(storage, f"{base}/o-ledger"), WHO)

        def refuse(*_: object) -> None:
            raise AccessDeniedError("denied")

        with monkeypatch.context() as patch:
            patch.setattr(storage, "delete_versions", refuse)
            record = destroyer.destroy(LEDGER)
        assert all(own.complete and own.versions_left and not own.counts for own in record.things)
        held = client.list_object_versions(Bucket=bucket, Prefix="a/o-ledger/")
        assert len(held["Versions"]) > 3
        left = record.find(LEDGER).versions_left
        assert destroyer.record(LEDGER).find(LEDGER).versions_left == left  # no word makes them go
        record = destroyer.destroy(LEDGER)
        record = destroyer.destroy(RUN_KEY)
        assert {own.what: own.versions_left for own in record.things} == {"ledger": 0, "run key": 0}
        held = client.list_object_versions(Bucket=bucket, Prefix="a/o-ledger/")
        assert {entry["Key"] for entry in held.get("Versions", ())} == {"a/o-ledger/run.key.txt"}
        assert client.list_object_versions(Bucket=bucket, Prefix="a/o-ledgers")["Versions"]
        assert client.list_object_versions(Bucket=bucket, Prefix="a/o/")["Versions"]
    s3fs.S3FileSystem.clear_instance_cache()
