"""`anon-batch submit` with a real Ray head, its job server and a token."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray_head import RayHead, ray_head
from relay import End, Relay
from releases import RUN_KEY, make_images, make_manifest, parts_count, release_of, run_cli, start_cli, wait_until

from anon_batch.storage import Storage

pytestmark = pytest.mark.full

ROWS, SHARD_ROWS = 160, 4
SLOW = (0, 0, 250)  # a color at which the tests' detector sleeps
STORE = Storage()


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(num_cpus=4) as running:
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    make_images(folder / "images", ROWS, dict.fromkeys(range(ROWS), SLOW))
    make_manifest(folder / "images", str(folder / "m.parquet"), faces=False)
    (folder / "key").write_bytes(RUN_KEY)
    return folder


@dataclass(frozen=True)
class Job:
    """A job file, and the commands of a user at a cluster."""

    head: RayHead
    file: Path
    output: str

    def submit(self, *args: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        env = self.head.env if token is None else {**self.head.env, "RAY_AUTH_TOKEN": token}
        return run_cli(*self._command(*args), env=env)

    def start(self, *args: str, log: Path, address: str | None = None) -> subprocess.Popen[bytes]:
        return start_cli(*self._command(*args, address=address), env=self.head.env, log=log)

    def _command(self, *args: str, address: str | None = None) -> list[str]:
        return ["submit", str(self.file), "--address", address or self.head.address, "--shared-mount", *args]

    def jobs(self) -> list[dict[str, Any]]:
        """What the dashboard shows of the submissions for this OUTPUT, in order."""
        request = urllib.request.Request(
            f"{self.head.address}/api/jobs/", headers={"Authorization": f"Bearer {self.head.token}"}
        )
        with urllib.request.urlopen(request) as answer:
            shown = [job for job in json.load(answer) if job["type"] == "SUBMISSION"]
        own = self.status()["submission_id"].rpartition("-")[0]
        return sorted((job for job in shown if job["submission_id"].startswith(own)), key=lambda job: job["start_time"])

    def status(self) -> dict[str, Any]:
        done = self.submit("--status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def parts(self) -> int:
        return parts_count(STORE, self.output)


@pytest.fixture
def job(head: RayHead, source: Path, tmp_path: Path) -> Job:
    output = f"{tmp_path}/out put's"
    file = tmp_path / "my job.yaml"
    keys = {
        "manifest": f"{source}/m.parquet",
        "output": output,
        "run_key_file": f"{source}/key",
        "detect": {"detectors": ["misbehaving"]},
        "anonymize": {"face": {"method": "solid"}},
        "engine": {"workers": 2, "shard_rows": SHARD_ROWS},
        "storage": {"options": {"s3://": {"key": "canary-key", "secret": "canary-secret"}}},
    }
    file.write_text(json.dumps(keys))
    return Job(head, file, output)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same job makes on this machine alone."""
    output = f"{tmp_path_factory.mktemp('undisturbed')}/out"
    options = [
        "--set",
        f"run_key_file={source}/key",
        "--set",
        f"engine.shard_rows={SHARD_ROWS}",
        "--set",
        "engine.workers=2",
    ]
    flags = ["--manifest", f"{source}/m.parquet", "--output", output, "--detector", "misbehaving", "--method", "solid"]
    done = run_cli("run", *flags, *options)
    assert done.returncode == 0, done.stderr
    return release_of(STORE, output)


def test_of_racing_commands_one_starts_a_driver_and_all_follow_it(
    job: Job, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    commands = [job.start(log=log) for log in logs]
    assert [command.wait(400) for command in commands] == [0, 0, 0], logs[0].read_text()
    texts = [log.read_text() for log in logs]
    assert sum(text.count("  submitted: ") for text in texts) == 1
    assert sum(text.count("  runs already, attached to it: ") for text in texts) == 2
    for text in texts:
        assert "160/160 images (100.0 %)" in text
        assert text.count("gate     passed   failed: 0.0 %") == 1
        assert text.count(f"release  {job.output}") == 1
        assert "ended with 0: finished, all gates passed" in text
    (shown,) = job.jobs()
    assert shown["status"] == "SUCCEEDED"
    assert release_of(STORE, job.output) == undisturbed

    again = job.submit()  # a finished job has nothing left to do
    assert again.returncode == 0, again.stderr
    assert [found["submission_id"][-2:] for found in job.jobs()] == ["-1", "-2"]


def test_a_dashboard_shows_no_address_and_no_key(job: Job) -> None:
    done = job.submit("--detach")
    assert done.returncode == 0, done.stderr
    shown = json.dumps(job.jobs()) + job.submit("--logs").stdout
    assert "canary" not in shown
    assert job.output not in json.dumps(job.jobs())
    assert job.head.token not in shown + done.stderr + done.stdout


def test_what_was_stopped_is_resumed_and_equals_an_undisturbed_run(
    job: Job, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "follower.log"
    follower = job.start(log=log)
    wait_until(lambda: job.parts() >= 3, "three commits")
    stopped = job.submit("--stop")
    assert stopped.returncode == 0, stopped.stderr
    assert re.match(r"anon-[0-9a-f]{8}-1  STOPPED\nexit code 130: the job was stopped", stopped.stdout)
    assert "not finished" in stopped.stdout
    assert follower.wait(400) == 130, log.read_text()
    assert "ended with 130: the job was stopped; committed shards stay" in log.read_text()
    done = job.parts()
    assert 3 <= done < ROWS // SHARD_ROWS
    assert re.search(rf"\b{done * SHARD_ROWS} of {ROWS} rows", stopped.stdout)

    resumed = job.submit()
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumes, {done * SHARD_ROWS} rows are done" in resumed.stderr
    assert release_of(STORE, job.output) == undisturbed


def test_a_deadline_stops_the_driver_although_nobody_follows_it(job: Job, undisturbed: dict[str, Any]) -> None:
    assert job.submit("--deadline", "4s", "--price-worker-hour", "3600", "--detach").returncode == 0
    wait_until(lambda: job.status()["status"] == "FAILED", "the deadline", 400)
    status = job.status()
    assert (status["driver_exit_code"], status["exit_code"]) == (130, 130)
    assert status["progress"]["done"] < ROWS
    said = re.search(
        r"the deadline of 4\.0 s is reached; the shards in flight have ended\. .* are left", status["message"]
    )
    assert said is not None, status["message"]
    assert job.submit().returncode == 0
    assert release_of(STORE, job.output) == undisturbed


def test_a_budget_stops_the_driver(job: Job) -> None:
    done = job.submit("--max-cost", "1", "--price-worker-hour", "900")
    assert done.returncode == 130, done.stderr
    assert "the budget of 1.00 is reached" in done.stderr
    cost = re.search(r"and cost ([\d.]+);", done.stderr)
    assert cost is not None
    assert float(cost[1]) >= 1


def test_a_gate_that_is_exceeded_returns_10_and_the_job_succeeded(job: Job) -> None:
    done = job.submit("--limit", "8", "--set", "gates={recall: 0.5}")
    assert done.returncode == 10, done.stderr
    assert "gate     EXCEEDED recall: not measured" in done.stdout
    assert "ended with 10: finished, but a gate was exceeded" in done.stderr
    status = json.loads(job.submit("--limit", "8", "--set", "gates={recall: 0.5}", "--status", "--json").stdout)
    assert (status["status"], status["driver_exit_code"], status["exit_code"]) == ("SUCCEEDED", 0, 10)


def test_a_log_stream_that_is_cut_changes_nothing(job: Job, tmp_path: Path) -> None:
    log = tmp_path / "follower.log"
    host, _, port = job.head.address.removeprefix("http://").partition(":")
    with Relay(End(host, 0), End(host, int(port))) as relay:
        follower = job.start(log=log, address=relay.url)
        wait_until(lambda: job.parts() >= 3, "three commits")
        assert relay.cut() >= 1, "the log's at least"
        wait_until(lambda: job.parts() >= 6, "more commits")
        with relay.away():
            wait_until(lambda: "trying again" in log.read_text(), "the client to notice")
        assert follower.wait(400) == 0, log.read_text()
    text = log.read_text()
    assert text.count(" starts: 160 rows -> ") == 1
    assert "ended with 0: finished" in text


def test_a_driver_that_is_killed_is_tried_again(job: Job, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "follower.log"
    follower = job.start(log=log)
    wait_until(lambda: job.parts() >= 3, "three commits")
    (driver,) = drivers(job)
    driver.kill()
    assert follower.wait(400) == 75, log.read_text()
    assert "signal 9 ended the driver" in log.read_text()
    assert job.submit().returncode == 0
    assert release_of(STORE, job.output) == undisturbed


def test_ctrl_c_detaches_and_the_same_command_returns(job: Job, tmp_path: Path) -> None:
    log = tmp_path / "follower.log"
    follower = job.start(log=log)
    wait_until(lambda: job.parts() >= 1, "a commit")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(400) == 130
    said = re.search(
        r"interrupted; (anon-\w+-1) runs on\. To return to it: (anon-batch submit .*); to stop it", log.read_text()
    )
    assert said is not None, log.read_text()
    assert str(job.file).replace("'", "") in said[2]
    assert len(drivers(job)) == 1
    done = job.submit()
    assert done.returncode == 0, done.stderr
    assert f"{said[1]}  runs already, attached to it" in done.stderr


def test_another_job_on_the_same_output_is_refused_while_one_runs(job: Job) -> None:
    assert job.submit("--detach").returncode == 0
    other = job.submit("--set", "write.format=png")
    assert (other.returncode, "writes the same OUTPUT" in other.stderr) == (2, True)
    stopped = job.submit("--set", "write.format=png", "--stop")  # it is found by its OUTPUT
    assert (stopped.returncode, "STOPPED" in stopped.stdout) == (0, True)
    assert drivers(job) == []


def test_a_driver_that_fails_says_why(job: Job) -> None:
    done = job.submit("--manifest", "/nowhere/m.parquet")
    assert done.returncode == 2
    assert "anon-batch: no manifest at /nowhere/m.parquet" in done.stderr
    assert "ended with 2: wrong usage" in done.stderr


def test_a_wrong_token_and_a_missing_one_are_named(job: Job) -> None:
    wrong = job.submit("--detach", token="wrong-canary")
    assert (wrong.returncode, "refuses this token" in wrong.stderr, "canary" in wrong.stderr) == (2, True, False)
    missing = run_cli(*job._command("--detach"), env={"RAY_AUTH_MODE": "disabled"})
    assert (missing.returncode, "asks for a token" in missing.stderr) == (2, True)


def drivers(job: Job) -> list[psutil.Process]:
    """The drivers that run on the head of this job."""
    found = []
    psutil.process_iter.cache_clear()  # because it keeps processes whose numbers were given to others since
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if words[1:4] == ["-m", "anon_batch", "run"] and process.environ().get("RAY_AUTH_TOKEN") == job.head.token:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
