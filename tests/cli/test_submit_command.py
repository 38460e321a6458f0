"""`anon-batch submit` with a job server in memory: what is said, and with which exit code it ends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from job_servers import MemoryJobServer, job
from pipeline_fixtures import job as job_config
from pipeline_fixtures import process_all, write_dataset

from anon_batch import cli
from anon_batch.cli import submit as submit_command
from anon_batch.cli import submit_progress, submitted
from anon_batch.cli.gates import show_gates
from anon_batch.cli.progress import ProgressBar, describe_rows
from anon_batch.cli.submit_progress import is_known
from anon_batch.cluster.jobs import stop as stopping
from anon_batch.cluster.jobs.follow import follow
from anon_batch.errors import AccessDeniedError
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.release.status import StatusReader

Main = Callable[..., tuple[int, str, str]]
ENDS = [job("PENDING", message="Job has not started yet."), job("RUNNING"), job("SUCCEEDED", 0)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryJobServer:
    made = MemoryJobServer()
    monkeypatch.setattr(submit_command, "_server", lambda _: made)
    monkeypatch.setattr(submitted, "follow", partial(follow, poll_s=0.0))
    monkeypatch.setattr(stopping, "_POLL_S", 0.0)
    return made


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Exit code, output, errors of the entry point."""

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    """Submit a job of four images."""
    write_dataset(str(tmp_path), [f"{number}.png" for number in range(4)])
    options = ["--set", f"run_key_file={tmp_path}/key", "--set", "engine.shard_rows=4", "--set", "storage.retries=0"]
    flags = [
        "--manifest",
        f"{tmp_path}/m.parquet",
        "--output",
        f"{tmp_path}/out",
        "--detector",
        "manifest",
        "--method",
        "solid",
    ]
    return ["submit", *flags, *options, "--shared-mount"]


def finish(tmp_path: Path, *, broken: int = 0, end: bool = True) -> None:
    """Do what the driver does."""
    for number in range(broken):
        (tmp_path / f"src/{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    run, _ = open_run(job_config(str(tmp_path)), ())
    process_all(run)
    if end:
        finalize(run)


def test_a_job_is_followed_to_its_end(main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path) -> None:
    server.script, server.printed = list(ENDS), "run 1 starts\nan odd thing happened\n1/4 images (25 %)\n"
    finish(tmp_path)
    code, out, err = main(*args)
    assert code == 0
    assert "4 of 4 rows in 1 shard" in out
    assert "gate     passed   failed" in out
    assert f"release  {tmp_path}/out\nledger   {tmp_path}/out-ledger  (private)" in out
    submission_id = next(iter(server.known))
    assert err.startswith(
        f"{submission_id}  submitted: http://head:8265\n{submission_id}  waits: Job has not started yet.\n"
    )
    assert f"{submission_id}  runs\n" in err
    assert err.count("an odd thing happened") == 1
    assert "1/4 images" not in err, "progress comes from storage"
    assert "4/4 images (100.0 %), 0 withheld, 0 failed" in err
    assert err.endswith(f"{submission_id}  ended with 0: finished, all gates passed\n")
    assert server.entrypoints[submission_id] == "exec anon-batch run job.yaml --address auto --finished-exit-zero"


def test_a_gate_that_is_exceeded_returns_10_although_the_driver_returned_0(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path
) -> None:
    server.script = list(ENDS)
    finish(tmp_path, broken=1)
    code, out, err = main(*args, "--json")
    shown = json.loads(out)
    assert (code, err) == (10, "")
    assert (shown["status"], shown["driver_exit_code"], shown["exit_code"]) == ("SUCCEEDED", 0, 10)
    assert shown["progress"]["gates_passed"] is False
    assert (shown["attached"], shown["output"]) == (False, f"{tmp_path}/out")


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (job("FAILED", 2), 2, "ended with 2: wrong usage"),
        (job("FAILED", 75), 75, "ended with 75: storage or the cluster kept failing"),
        (job("FAILED", 130), 130, "ended with 130: stopped on purpose"),
        (job("STOPPED"), 130, "ended with 130: the job was stopped; committed shards stay"),
        (job("FAILED", 127), 2, "install it on every node"),
        (job("FAILED", -9), 75, "signal 9"),
    ],
)
def test_the_exit_code_is_the_driver_s(
    main: Main, server: MemoryJobServer, args: list[str], ended: Any, code: int, said: str, tmp_path: Path
) -> None:
    server.script, server.printed = [job("RUNNING"), ended], "anon-batch: the reason\n"
    found, _, err = main(*args)
    assert (found, said in err, "anon-batch: the reason" in err) == (code, True, True)


def test_what_is_done_is_shown_for_a_job_that_did_not_finish(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path
) -> None:
    server.script = [job("RUNNING"), job("FAILED", 75)]
    finish(tmp_path, end=False)
    code, out, _ = main(*args)
    assert (code, "4 of 4 rows" in out, "not finished" in out) == (75, True, True)


def test_a_finished_driver_without_a_release_is_no_success(
    main: Main, server: MemoryJobServer, args: list[str]
) -> None:
    server.script = list(ENDS)
    code, _, err = main(*args)
    assert code == 3
    assert "ended with 0, but its verdict cannot be read from here:" in err
    assert "do this machine and the cluster see the same place" in err


def test_the_limits_of_the_driver_are_passed_on(main: Main, server: MemoryJobServer, args: list[str]) -> None:
    given = ["--deadline", "1h30m", "--max-cost", "300", "--price-worker-hour", "0.25", "--detach"]
    code, out, err = main(*args, *given)
    submission_id = out.strip()
    assert (code, list(server.known)) == (0, [submission_id])
    assert server.entrypoints[submission_id].endswith(
        " --finished-exit-zero --deadline 5400s --max-cost 300.0 --price-worker-hour 0.25"
    )
    assert f"To stop it: anon-batch submit {submission_id} --stop --address http://head:8265" in err
    back = re.search(r"To return to it: (.*)\n", err)
    assert back is not None
    assert "--detach" not in back[1]
    assert "--deadline 1h30m" in back[1]


def test_detach_for_machines(main: Main, server: MemoryJobServer, args: list[str]) -> None:
    code, out, _ = main(*args, "--detach", "--json")
    assert (code, json.loads(out)["status"], json.loads(out)["exit_code"]) == (0, "PENDING", None)
    assert main(*args, "--detach", "--json")[1].count('"attached": true') == 1


def test_a_second_command_attaches(main: Main, server: MemoryJobServer, args: list[str]) -> None:
    _, first, _ = main(*args, "--detach")
    code, second, err = main(*args, "--set", "engine.workers=7", "--detach")
    assert (code, second) == (0, first)
    assert "runs already, attached to it" in err
    assert "keeps what it was submitted with: other workers" in err
    code, _, err = main(*args, "--set", "write.format=png", "--detach")
    assert (code, "writes the same OUTPUT" in err) == (2, True)


def test_a_cluster_that_is_lost_returns_75_and_says_how_to_return(
    main: Main, server: MemoryJobServer, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitted, "follow", partial(follow, poll_s=0.0, give_up_s=0.0))
    server.script = [job("RUNNING"), None]
    code, _, err = main(*args)
    assert code == 75
    assert "may run on. To return to it: anon-batch submit --manifest" in err
    assert "no Ray job server answers at http://head:8265" in err


@pytest.mark.parametrize(("broken", "code"), [(0, 0), (1, 10)])
def test_a_cluster_that_went_with_its_finished_job_is_no_failure(
    main: Main,
    server: MemoryJobServer,
    args: list[str],
    tmp_path: Path,
    broken: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submit_progress, "_READ_EVERY_S", 0.0)
    server.script = [job("RUNNING"), job("RUNNING"), None]
    look = server.job

    def finishes(submission_id: str) -> Any:
        if len(server.script) == 1:
            finish(tmp_path, broken=broken)
        return look(submission_id)

    monkeypatch.setattr(server, "job", finishes)
    found, out, err = main(*args)
    assert found == code
    assert "any more, and the run has finished" in err
    assert "4 of 4 rows" in out


def test_a_release_that_was_finished_before_says_nothing_of_a_lost_job(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_progress, "_READ_EVERY_S", 0.0)
    monkeypatch.setattr(submitted, "follow", partial(follow, poll_s=0.0, give_up_s=0.5))
    finish(tmp_path)
    server.script = [job("RUNNING"), None]
    code, _, err = main(*args)
    assert (code, "may run on. To return to it" in err) == (75, True)


@pytest.mark.parametrize("action", ["--status", "--stop"])
def test_the_state_of_a_job_is_shown_although_its_output_is_not(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    def denied(_: StatusReader) -> Any:
        raise AccessDeniedError("access denied", f"{tmp_path}/out/run.json")

    finish(tmp_path)
    monkeypatch.setattr(StatusReader, "read", denied)
    submission_id = main(*args, "--detach")[1].strip()
    code, out, err = main(*args, action)
    assert (code, out.startswith(submission_id), "cannot be read from here: access denied" in err) == (0, True, True)


def test_an_output_that_is_not_for_this_machine_is_no_success(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: StatusReader) -> Any:
        raise AccessDeniedError("access denied", f"{tmp_path}/out/run.json")

    monkeypatch.setattr(StatusReader, "read", denied)
    server.script, server.printed = [job("RUNNING"), job("RUNNING"), job("SUCCEEDED", 0)], "1/4 images (25.0 %)\n"
    finish(tmp_path)
    code, _, err = main(*args)
    assert code == 2
    assert err.count("OUTPUT cannot be read from here, so progress is what the driver says: access denied") == 1
    assert "1/4 images (25.0 %)" in err
    assert "ended with 0, but its verdict cannot be read from here:" in err


def test_ctrl_c_detaches(main: Main, server: MemoryJobServer, args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "job", interrupted)
    code, _, err = main(*args)
    submission_id = next(iter(server.known))
    assert code == 130
    assert f"interrupted; {submission_id} runs on. To return to it: anon-batch submit --manifest" in err
    assert f"to stop it: anon-batch submit {submission_id} --stop --address http://head:8265" in err
    assert server.stops == []


def test_status_stop_and_logs_by_job_and_by_id(
    main: Main, server: MemoryJobServer, args: list[str], tmp_path: Path
) -> None:
    code, _, err = main(*args, "--status")
    assert (code, "knows no job for this OUTPUT" in err) == (2, True)
    finish(tmp_path, end=False)
    submission_id = main(*args, "--detach")[1].strip()
    code, out, _ = main(*args, "--status")
    assert (code, out.startswith(f"{submission_id}  PENDING since 2026-01-01T00:00:00+00:00: Job has not")) == (0, True)
    assert "4 of 4 rows" in out
    code, out, _ = main("submit", submission_id, "--status")
    assert (code, "rows" in out) == (0, False), "the id says nothing of OUTPUT"
    code, out, _ = main("submit", submission_id, "--stop", "--json")
    assert (code, json.loads(out)["status"], json.loads(out)["exit_code"]) == (0, "STOPPED", 130)
    code, out, _ = main(*args, "--stop")
    assert (code, f"{submission_id}  STOPPED\nexit code 130: the job was stopped" in out) == (0, True)
    assert server.stops == [submission_id], "what has ended is not stopped again"
    server.printed = "1/4 images\nend\n"
    assert main("submit", submission_id, "--logs")[:2] == (0, "1/4 images\nend\n")
    server.end(
        submission_id, "FAILED", 2, "failed with exit code 2, last available logs:\nanon-batch: wrong key token=canary"
    )
    code, out, _ = main("submit", submission_id, "--status")
    assert f"{submission_id}  FAILED: anon-batch: wrong key token=***\nexit code 2: wrong usage" in out


def test_a_secret_on_the_command_line_is_not_repeated(main: Main, server: MemoryJobServer, args: list[str]) -> None:
    given = ["--set", "storage.options={'s3://': {secret: canary}}", "--detach"]
    code, out, err = main(*args, *given)
    assert code == 0
    assert "canary" not in out + err
    assert "canary" in next(iter(server.files.values()))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--status", "--stop"], "--status and --stop exclude each other"),
        (["--max-cost", "5"], "--max-cost needs --price-worker-hour"),
        (["--method", "Solid"], None),
        (["--set", "engine.wrkers=2"], "engine.wrkers"),
    ],
)
def test_nothing_is_sent_of_a_wrong_job(
    main: Main, server: MemoryJobServer, args: list[str], given: list[str], said: str | None
) -> None:
    code, _, err = main(*args, *given, *([] if "--status" in given else ["--detach"]))
    if said is None:  # a plug-in that the cluster may have
        assert (code, "the nodes of the cluster need it" in err) == (0, True)
    else:
        assert (code, said in err, server.known) == (2, True, {})


def test_paths_that_only_this_machine_has_are_refused(main: Main, server: MemoryJobServer, args: list[str]) -> None:
    code, _, err = main(*args[:-1])
    assert (code, server.known) == (2, {})
    assert "the cluster cannot see paths of this machine: manifest (" in err
    assert "say --shared-mount" in err


def test_wrong_names_of_a_job_are_explained(main: Main, server: MemoryJobServer) -> None:
    code, _, err = main("submit", "anon-12345678-1")
    assert (code, "name the job file to follow it" in err) == (2, True)
    code, _, err = main("submit", "anon-12345678-1", "--status")
    assert (code, "does not exist" in err) == (2, True)
    code, _, err = main("submit", "no.yaml")
    assert (code, "job file no.yaml" in err) == (2, True)
    code, _, err = main("submit")
    assert (code, "submit needs --manifest and --output, or a job file" in err) == (2, True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ([], "submit needs --address, the cluster's job server"),
        (["--address", "ray://head:10001"], "`run --address` takes that of the cluster itself"),
        (["--address", "head:6379"], "`run --address` takes that of the cluster itself"),
    ],
)
def test_the_address_is_that_of_the_job_server(
    main: Main, args: list[str], address: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = main(*args, *address)
    assert (code, said in err) == (2, True)


def test_lines_of_the_driver_that_the_client_says_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, main: Main, args: list[str]
) -> None:
    bar = ProgressBar("images")
    bar.start(1000, 0)
    bar.update(1000, *describe_rows({"clean": 1000}, 3))
    progress = capsys.readouterr().err.strip()
    assert is_known(progress, by_storage=True)
    assert not is_known(progress, by_storage=False)
    finish(tmp_path)
    from anon_batch.formats.release import Release
    from anon_batch.storage import Storage

    show_gates(Release(Storage(), f"{tmp_path}/out").read_gates())
    gates = capsys.readouterr().out.splitlines()
    code, summary, _ = main("run", *args[1:-1])  # nothing is left to do
    assert code == 0
    for line in [
        *gates,
        *summary.splitlines(),
        "2026-11-28 10:52:22,845\tINFO job_manager.py:581 -- Runtime env is setting up.",
    ]:
        assert is_known(line, by_storage=False), line
    for line in ("shard 0-4 will be retried: the store is away", "run 1 starts: 4 rows", "anon-batch: no manifest"):
        assert not is_known(line, by_storage=True)
