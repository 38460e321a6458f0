"""Three nodes with a token and a bucket: whatever is done to them, the release is the one that a laptop makes of the job."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import namespaces
import psutil
import pytest
import requests
from machines import Machine
from ray_lab import SHARDS, Driver, Lab
from ray_nodes import ray_nodes
from relay import End, Relay
from releases import wait_until
from servers import S3Server

pytestmark = pytest.mark.full
TOKEN = "canary1f9c77d3canary1f9c77d3canary"
_WRONG = "another0b1c"


@pytest.fixture(scope="module")
def lab(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    isolated = not namespaces.why_not() and not os.environ.get("NODES_ON_LOOPBACK")
    with ray_nodes(moto, token=TOKEN, isolated=isolated) as nodes:
        yield Lab(nodes, moto, tmp_path_factory.mktemp("nodes"))


@pytest.fixture
def whole(lab: Lab) -> Lab:
    """All three nodes run."""
    lab.nodes.start_all()
    return lab


def test_workers_run_on_all_nodes(whole: Lab) -> None:
    with whole.nodes.held():
        driver = whole.drive("spread")
        busy = lambda: all(machine.workers() for machine in whole.nodes.machines)  # noqa: E731
        wait_until(busy, f"a worker on each machine, see {driver.log}")
    assert driver.wait() == 0, driver.said()
    whole.check("spread")
    assert "(raylet)" not in driver.said()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RAY_AUTH_MODE": None}, "asks for a token, and none was sent because RAY_AUTH_MODE is not set"),
        ({"RAY_AUTH_TOKEN": None}, "there is none in /proc/nobody/.ray/auth_token"),
        ({"RAY_AUTH_TOKEN": _WRONG}, "refuses this token"),
    ],
)
def test_a_driver_without_the_token_says_so_before_it_starts(
    whole: Lab, variables: dict[str, str | None], said: str
) -> None:
    before = dict(whole.nodes.env)
    with contextlib.ExitStack() as stack:
        stack.callback(whole.nodes.env.update, before)
        for name, value in variables.items():
            whole.nodes.env.pop(name)
            whole.nodes.env |= {name: value} if value else {}
        driver = whole.drive("refused")
        assert driver.wait() == 2
    text = " ".join(driver.said().split())
    assert said in text
    assert "Traceback" not in text
    assert _WRONG not in text
    assert whole.committed("refused") == 0
    driver.log.unlink()


def test_a_lost_node_and_an_announced_one(whole: Lab) -> None:
    """SIGKILL of a node in the middle; then a spot machine that says that it goes away, and goes."""
    one, two = whole.nodes.machines[1:]
    with whole.nodes.held():
        driver = whole.drive("lost")
        wait_until(lambda: bool(one.workers() and two.workers()), f"a worker on each, see {driver.log}")
    whole.wait_for_commits("lost", 3)
    with whole.nodes.held():
        one.kill()
    whole.wait_for_commits("lost", 7)
    with whole.nodes.held():
        whole.nodes.drain(two, 2)
        time.sleep(2)
        two.kill()
    assert driver.wait() == 0, driver.said()
    whole.check("lost")


@pytest.mark.ceph
def test_a_lost_node_with_ceph_as_the_store(whole: Lab, ceph: S3Server, tmp_path: Path) -> None:
    place = requests.utils.urlparse(ceph.endpoint_url)
    with Relay(whole.nodes.store.listens, End(place.hostname, place.port)) as way:
        lab, lost = Lab(whole.nodes, ceph, tmp_path, way), whole.nodes.machines[2]
        with whole.nodes.held():
            driver = lab.drive("ceph")
            wait_until(lambda: bool(lost.workers()), f"a worker on the machine that is lost, see {driver.log}")
        lab.wait_for_commits("ceph", 3)
        with whole.nodes.held():
            lost.kill()
        assert driver.wait() == 0, driver.said()
        lab.check("ceph")


def test_submitted_twice_it_runs_once(whole: Lab) -> None:
    drivers = [whole.submit("twice", log=f"twice-{number}") for number in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.said()
    assert len(whole.jobs("twice")) == 1
    whole.check("twice")


def test_a_cut_log_stream_decides_nothing(whole: Lab) -> None:
    driver = whole.submit("cut")
    cuts = 0
    while driver.process.poll() is None:
        time.sleep(1)
        cuts += whole.nodes.api.cut()
        if cuts == 1:
            with whole.nodes.api.away():
                time.sleep(2)
    assert cuts > 0
    assert driver.wait() == 0, driver.said()
    assert len(whole.jobs("cut")) == 1
    whole.check("cut")


def test_stopped_and_submitted_again(whole: Lab) -> None:
    first = whole.submit("stopped")
    whole.wait_for_commits("stopped", 3)
    with whole.nodes.held():
        stop = whole.submit("stopped", "--stop", log="stopped-stop")
        assert stop.wait() == 0, stop.said()
        assert first.wait() == 130, first.said()
    [job] = whole.jobs("stopped")
    assert job["status"] == "STOPPED"
    assert "terminated by SIGTERM" in whole.job_log(job["submission_id"]), "Ray had to kill the driver"
    assert whole.committed("stopped") < SHARDS
    again = whole.submit("stopped", log="stopped-again")
    assert again.wait() == 0, again.said()
    assert len(whole.jobs("stopped")) == 2
    whole.check("stopped")


def _driver_of(machine: Machine) -> psutil.Process:
    """Return the driver of the one job that runs on a machine: the last in the chain of its processes."""
    for process in machine.processes():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "run" in words and any("anon_batch" in word for word in words) and "sh" not in Path(words[0]).name:
                return process
    raise AssertionError("no driver runs")


def test_killed_drivers_and_a_killed_head(whole: Lab) -> None:
    first = whole.submit("killed")
    whole.wait_for_commits("killed", 3)
    with whole.nodes.held():
        _driver_of(whole.nodes.head).kill()
        assert first.wait() == 75, first.said()
    second = whole.submit("killed", log="killed-second")
    whole.wait_for_commits("killed", 7)
    with whole.nodes.held():
        second.process.send_signal(signal.SIGINT)
        assert second.wait() == 130, second.said()
        for machine in whole.nodes.machines:
            machine.kill()
    assert whole.committed("killed") < SHARDS
    whole.nodes.start_all()
    third = whole.submit("killed", log="killed-third")
    assert third.wait() == 0, third.said()
    whole.check("killed")


def _handles_sigterm(driver: Driver) -> bool:
    [caught] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{driver.process.pid}/status").read_text())
    return bool(int(caught, 16) & 1 << (signal.SIGTERM - 1))


STAGES: dict[str, Callable[[Lab, Driver, str], bool]] = {
    "starts": lambda lab, driver, name: _handles_sigterm(driver),
    "has a run": lambda lab, driver, name: lab.store.exists(f"{lab.output(name)}/run.json"),
    "loads": lambda lab, driver, name: any(machine.workers() for machine in lab.nodes.machines),
    "is in flight": lambda lab, driver, name: lab.committed(name) >= 3,
    "is about to finish": lambda lab, driver, name: lab.committed(name) >= SHARDS,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_driver_ends_within_3_s_of_sigterm(whole: Lab, stage: str) -> None:
    """Ray kills it then. A notice of the machine's end does not count in a Ray job."""
    name = f"term-{stage.replace(' ', '-')}"
    whole.nodes.env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = "{}"
    try:
        driver = whole.drive(name, termination_notice_s=120)
    finally:
        del whole.nodes.env["RAY_JOB_CONFIG_JSON_ENV_VAR"]
    wait_until(lambda: STAGES[stage](whole, driver, name), f"the driver that {stage}, see {driver.log}")
    begin = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    code, seconds = driver.wait(), time.monotonic() - begin
    assert code in ((75, 0) if stage == "is about to finish" else (75,)), driver.said()
    assert seconds < 3, driver.said()
    assert "Traceback" not in driver.said()
    assert driver.wait() == 0 or "terminated by SIGTERM" in driver.said()
    again = whole.drive(name)
    assert again.wait() == 0, again.said()
    whole.check(name)


def test_a_driver_ends_within_3_s_while_the_store_is_away(whole: Lab) -> None:
    driver = whole.drive("away")
    whole.wait_for_commits("away", 3)
    with whole.nodes.store.away():
        begin = time.monotonic()
        driver.process.send_signal(signal.SIGTERM)
        assert driver.wait() == 75, driver.said()
        assert time.monotonic() - begin < 3, driver.said()
    assert "Traceback" not in driver.said()


def test_the_token_is_in_no_log_and_no_command_line(whole: Lab) -> None:
    seen = []
    with whole.nodes.held():
        driver = whole.drive("quiet")
        wait_until(lambda: all(machine.workers() for machine in whole.nodes.machines), "a worker on each machine")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                seen += process.cmdline()
    assert driver.wait() == 0, driver.said()
    assert not [word for word in seen if TOKEN in word]
    files = [path for folder in (whole.folder, whole.nodes.folder) for path in folder.rglob("*") if path.is_file()]
    assert {machine.name for machine in whole.nodes.machines} <= {
        path.relative_to(whole.nodes.folder).parts[0] for path in files if path.is_relative_to(whole.nodes.folder)
    }
    assert len([path for path in files if path.name.startswith("gcs_server")]) >= 2, "the logs are elsewhere"
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
