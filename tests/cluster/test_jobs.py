"""Submit, follow and stop jobs, with a job server in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from job_servers import MemoryJobServer, job

from anon_batch.cluster.jobs.follow import exit_code_of, follow
from anon_batch.cluster.jobs.identity import JobIdentity, identity_of, is_submission_id
from anon_batch.cluster.jobs.log_stream import LogStream
from anon_batch.cluster.jobs.places import local_places, with_absolute_paths
from anon_batch.cluster.jobs.server import ServerAwayError, SubmittedJob
from anon_batch.cluster.jobs.stop import stop_job
from anon_batch.cluster.jobs.submit import find, submit
from anon_batch.config import JobConfig, load_job
from anon_batch.errors import ClusterError, ConfigError, ExitCode

SECRET = "wJalrXUtnFEMI"


def config(**keys: Any) -> JobConfig:
    given = {
        "manifest": "s3://in/m.parquet",
        "output": "s3://out/release",
        "storage.options": {"s3://": {"secret": SECRET}},
    }
    return load_job(None, {**given, **{key.replace("__", "."): value for key, value in keys.items()}})


def sent(server: MemoryJobServer, **keys: Any) -> tuple[str, bool]:
    own = config(**keys)
    done = submit(server, own, identity_of(own, {}), "anon-batch run job.yaml", sleep=lambda _: None)
    return done.submission_id, done.attached


# Identity


def test_the_digest_covers_what_the_outputs_depend_on() -> None:
    first = identity_of(config(), {})
    assert identity_of(config(engine__workers=8, storage__retries=0, models__cache="/c"), {}).job == first.job
    for keys in (
        {"output": "s3://out/other"},
        {"ledger": "s3://private/ledger"},
        {"manifest": "s3://in/other.parquet"},
        {"run_key_file": "s3://private/key"},
        {"anonymize.face.method": "solid"},
        {"write.format": "png"},
        {"sample.limit": 5},
        {"engine.shard_rows": 64},
        {"name": "other"},
        {"identity.scope": "dataset"},
        {"seal.recipients": ["s3://private/key.pub"]},
    ):
        assert (
            identity_of(load_job(None, {"manifest": "s3://in/m.parquet", "output": "s3://out/release", **keys}), {}).job
            != first.job
        )
    assert identity_of(config(anonymize__face__method="solid"), {}).output == first.output
    assert identity_of(config(sample__limit=5), {}).output != first.output, "a sample is a release of its own"


def test_settings_that_change_no_output_are_compared_too() -> None:
    first = identity_of(config(), {})
    assert identity_of(config(engine__workers=8), {}).settings != first.settings
    assert identity_of(config(), {"--deadline": "60s"}).settings != first.settings
    assert identity_of(config(storage__retries=0, engine__address="auto"), {}).settings == first.settings


def test_ids_name_the_job_and_the_try() -> None:
    own = identity_of(config(), {})
    assert own.submission_id(12) == f"anon-{own.job[:8]}-12"
    assert own.number_of(own.submission_id(12)) == 12
    assert own.number_of("anon-00000000-12") == own.number_of("raysubmit_x") == 0
    assert is_submission_id(own.submission_id(1))
    assert not is_submission_id("job.yaml")
    assert JobIdentity.from_metadata(own.metadata) == own
    assert JobIdentity.from_metadata({"job_name": "x"}) is None


# Places


def test_paths_become_absolute_and_local_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = config(
        manifest="m.parquet",
        output="~/out",
        ledger="file://led",
        models__files={"generator": "g.pt"},
        sources__allow=["src", "s3://b/"],
        run_key_file="s3://k/key",
    )
    found = with_absolute_paths(own)
    assert local_places(found) == {
        "manifest": f"{tmp_path}/m.parquet",
        "output": str(Path("~/out").expanduser()),
        "ledger": f"{tmp_path}/led",
        "models.files.generator": f"{tmp_path}/g.pt",
        "sources.allow[0]": f"{tmp_path}/src",
    }
    assert local_places(with_absolute_paths(config())) == {}


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("jobs/*.yaml")), ids=lambda path: path.name)
def test_a_job_file_arrives_as_it_was_sent(path: Path, tmp_path: Path) -> None:
    own = with_absolute_paths(load_job(path, {}))
    server = MemoryJobServer()
    submit(server, own, identity_of(own, {}), "x")
    (tmp_path / "job.yaml").write_text(*server.files.values())
    assert load_job(tmp_path / "job.yaml", {}) == own


# Submit


def test_the_cluster_gets_one_file_and_no_address_where_it_shows() -> None:
    server = MemoryJobServer()
    submission_id, attached = sent(server)
    assert (submission_id[:5], submission_id[-2:], attached) == ("anon-", "-1", False)
    assert yaml.safe_load(server.files[submission_id])["storage"]["options"] == {"s3://": {"secret": SECRET}}
    assert server.modes[submission_id] == 0o600
    shown = str((server.entrypoints, server.known))
    assert SECRET not in shown
    assert "s3://" not in shown


def test_a_live_job_is_attached_to_and_one_that_ended_is_tried_again() -> None:
    server = MemoryJobServer()
    first, _ = sent(server)
    assert sent(server) == (first, True)
    server.end(first, "FAILED", 75)
    assert sent(server) == (f"{first[:-1]}2", False)
    server.end(f"{first[:-1]}2", "STOPPED", None)
    assert sent(server)[0] == f"{first[:-1]}3"


def test_a_live_job_with_other_workers_is_attached_to_and_the_user_hears_of_it() -> None:
    server, own = MemoryJobServer(), config(engine__workers=8)
    sent(server)
    done = submit(server, own, identity_of(own, {}), "x")
    assert (done.attached, done.other_settings) == (True, True)


def test_a_live_job_of_another_kind_on_the_same_output_is_refused() -> None:
    server = MemoryJobServer()
    first, _ = sent(server)
    with pytest.raises(ConfigError, match=f"{first} writes the same OUTPUT.*submit {first} --stop"):
        sent(server, anonymize__face__method="solid")
    assert len(server.known) == 1
    server.end(first)
    assert not sent(server, anonymize__face__method="solid")[1]
    assert sent(server, output="s3://out/other")[0][-1] == "1", "another output is nobody's concern"


def test_of_two_that_race_one_attaches(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MemoryJobServer()
    submit_now = server.submit

    def slower(*arguments: Any) -> None:
        if not server.known:
            submit_now(*arguments)  # by another command
        submit_now(*arguments)

    monkeypatch.setattr(server, "submit", slower)
    assert sent(server) == (next(iter(server.known)), True)


def test_a_lost_answer_starts_no_second_driver() -> None:
    server = MemoryJobServer()
    server.away_after_submit = 1
    assert sent(server)[1] is True
    assert len(server.known) == 1


def test_a_server_that_takes_no_job_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise ServerAwayError("no agent")

    server = MemoryJobServer()
    monkeypatch.setattr(server, "submit", away)
    with pytest.raises(ClusterError, match="no agent") as caught:
        sent(server)
    assert caught.value.exit_code == ExitCode.TRY_AGAIN


def test_the_job_of_an_output_is_the_live_one_else_the_latest() -> None:
    server, own = MemoryJobServer(), identity_of(config(anonymize__face__method="solid"), {})
    assert find(server, own) is None
    first, _ = sent(server)
    server.end(first)
    second, _ = sent(server)
    server.end(second)
    assert find(server, own).submission_id == second
    server.known[first] = SubmittedJob(first, "RUNNING", metadata=server.known[first].metadata)
    assert find(server, own).submission_id == first


# Follow


class Heard:
    def __init__(self) -> None:
        self.states: list[str] = []
        self.notes: list[str] = []
        self.ticks = 0
        self.finishes_at = 10**9

    def state(self, job: SubmittedJob) -> None:
        self.states.append(job.status)

    def tick(self) -> bool:
        self.ticks += 1
        return self.ticks >= self.finishes_at

    def note(self, text: str) -> None:
        self.notes.append(text)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def followed(script: list[SubmittedJob | None], heard: Heard | None = None) -> SubmittedJob:
    server, clock = MemoryJobServer(script), Clock()
    server.known["anon-1"] = job("PENDING")
    return follow(server, "anon-1", heard or Heard(), clock=clock, sleep=clock.sleep)


def test_a_job_is_followed_to_its_end() -> None:
    heard = Heard()
    ended = followed([job("PENDING"), job("RUNNING"), job("RUNNING"), job("SUCCEEDED", 0)], heard)
    assert (ended.status, heard.states, heard.ticks) == ("SUCCEEDED", ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"], 3)


def test_a_server_that_comes_back_is_waited_for() -> None:
    heard = Heard()
    assert followed([job("RUNNING"), *[None] * 100, job("SUCCEEDED", 0)], heard).exit_code == 0
    assert heard.notes == [
        "no Ray job server answers at http://head:8265 (Connection refused); trying again for 5 min 00 s",
        "http://head:8265 answers again",
    ]
    assert heard.ticks == 101, "progress goes on by storage"


def test_a_server_that_stays_away_is_given_up_with_75() -> None:
    with pytest.raises(ClusterError, match="for 5 min 00 s now") as caught:
        followed([job("RUNNING"), None])
    assert caught.value.exit_code == ExitCode.TRY_AGAIN


def test_a_server_that_goes_away_with_its_finished_job_is_not_waited_for() -> None:
    heard = Heard()
    heard.finishes_at = 2
    with pytest.raises(ClusterError, match="answers at http://head:8265 any more, and the run has finished"):
        followed([job("RUNNING"), job("RUNNING"), job("RUNNING"), None], heard)
    assert heard.ticks == 4, "while the server answers, its word counts"


def test_a_cluster_that_forgot_the_job_was_started_again() -> None:
    with pytest.raises(ClusterError, match=r"does not know anon-9 any more, .* because its head was started again"):
        follow(MemoryJobServer(), "anon-9", Heard())


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (job("SUCCEEDED", 0), 0, ""),
        (job("FAILED", 1), 1, ""),
        (job("FAILED", 2), 2, ""),
        (job("FAILED", 2, "anon-batch: job.yaml: unknown key `seal`; known keys: name"), 2, "install the same version"),
        (job("FAILED", 3), 3, ""),
        (job("FAILED", 10), 10, ""),
        (job("FAILED", 75), 75, ""),
        (job("FAILED", 130), 130, ""),
        (job("STOPPED"), 130, "the job was stopped"),
        (job("FAILED", 127), 2, "cannot start `anon-batch` (exit code 127): install it on every node"),
        (job("FAILED", 126), 2, "cannot start `anon-batch`"),
        (job("FAILED", -9), 75, "signal 9 ended the driver"),
        (job("FAILED", 137), 75, "signal 9 ended the driver"),
        (job("FAILED", 42), 1, "exit code 42"),
        (
            job("FAILED", None, "runtime_env setup failed: no space\nTraceback", "RUNTIME_ENV_SETUP_FAILURE"),
            75,
            "failed: no space",
        ),
    ],
)
def test_every_end_has_a_code(ended: SubmittedJob, code: int, said: str) -> None:
    found, why = exit_code_of(ended)
    assert found == code
    assert said in why
    assert "\n" not in why


# Stop


def test_stop_waits_for_the_end() -> None:
    server, clock = MemoryJobServer(), Clock()
    first, _ = sent(server)
    assert stop_job(server, first, clock=clock, sleep=clock.sleep).status == "STOPPED"
    assert stop_job(server, first, clock=clock, sleep=clock.sleep).status == "STOPPED"
    assert server.stops == [first]


def test_a_job_that_does_not_end_is_reported() -> None:
    server, clock = MemoryJobServer([job("PENDING", message="Job has not started yet.")]), Clock()
    first, _ = sent(server)
    with pytest.raises(ClusterError, match=r"has not ended within 1 min 00 s \(PENDING: Job has not started yet\.\)"):
        stop_job(server, first, clock=clock, sleep=clock.sleep)
    assert len(server.stops) > 10, "a job that is not set up yet misses the first ones"


# Log


def test_a_log_is_complete_although_its_stream_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anon_batch.cluster.jobs.log_stream._PAUSE_S", 0.01)
    server, starts = MemoryJobServer(), []
    server.printed = "".join(f"line {number}\n" for number in range(9)) + "no end of line"

    async def breaks(_: str) -> Any:
        starts.append(1)
        for number in range(2 * len(starts)):
            yield f"line {number}\n"
        raise RuntimeError("WebSocket connection closed unexpectedly")

    monkeypatch.setattr(server, "tail", breaks)
    lines: list[str] = []
    with LogStream(server, "anon-1") as log:
        while len(starts) < 4:
            lines += log.lines()
        lines += log.last_lines()
    assert lines == server.printed.splitlines()


def test_a_silent_stream_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anon_batch.cluster.jobs.log_stream._PAUSE_S", 0.01)
    monkeypatch.setattr("anon_batch.cluster.jobs.log_stream._SILENCE_S", 0.05)
    server, starts = MemoryJobServer(), []

    async def silent(_: str) -> Any:
        import asyncio

        starts.append(1)
        yield "first\n"
        await asyncio.sleep(3600)

    monkeypatch.setattr(server, "tail", silent)
    with LogStream(server, "anon-1") as log:
        while len(starts) < 3:
            pass
        assert list(log.lines()) == ["first"]


def test_a_log_that_cannot_be_read_at_the_end_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> str:
        raise ServerAwayError("gone")

    server = MemoryJobServer()
    server.printed = "first\n"
    monkeypatch.setattr(server, "log", away)
    with LogStream(server, "anon-1") as log:
        assert list(log.last_lines()) in (["first"], [])
