"""OpenLineage events: valid, one run for each start, without a source; and whatever happens to their place stops nothing."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openlineage_events import check, read_events, to_file
from pipeline_fixtures import Silent, job, process_all, write_dataset

from anon_batch.errors import ClusterError, ExitCode, StoppedError, TerminatedError
from anon_batch.pipeline import lineage
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.lineage import Named, open_sink
from anon_batch.pipeline.observers import Observed
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.run_lineage import lineage_of
from anon_batch.storage import Storage, join

IDS = [f"Anna_{index}.png" for index in range(10)]


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    Storage().put(join(str(tmp_path), f"src/{IDS[3]}"), b"no image")
    return open_run(job(str(tmp_path), name="photos"), ())[0]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    path = tmp_path / "events.jsonl"
    for name, value in to_file(path).items():
        monkeypatch.setenv(name, value)
    return lambda: read_events(path)


def start(run: Run, act: Callable[[Observed], None]) -> list[str]:
    """Do what a start of the driver does; return what the user was warned of."""
    warnings: list[str] = []
    with Observed(Silent(), lineage_of(run, warnings.append)) as observed:
        observed.started(run, Counter(), resumed=False)
        act(observed)
    return warnings


def finish(run: Run) -> Callable[[Observed], None]:
    def act(observed: Observed) -> None:
        process_all(run)
        observed.finished(ExitCode.GATE_EXCEEDED, *finalize(run))

    return act


def test_a_run_sends_its_start_and_its_end_with_figures(run: Run, events: Any) -> None:
    assert start(run, finish(run)) == []
    begun, ended = events()
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"]
    assert begun["job"] == ended["job"]
    assert (begun["job"]["namespace"], begun["job"]["name"]) == ("anon-batch", "photos.run")
    [manifest], [release] = ended["inputs"], ended["outputs"]
    assert manifest["name"] == f"manifest/sha256:{run.plan.fingerprint['manifest rows']}"
    assert manifest["inputFacets"]["inputStatistics"]["rowCount"] == 10
    assert (release["namespace"], release["name"]) == ("file", run.release.uri)
    assert release["outputFacets"]["outputStatistics"]["rowCount"] == 9
    columns = release["facets"]["dataQualityMetrics"]["columnMetrics"]
    assert {name: own["count"] for name, own in columns.items() if own["count"]} == {
        "status=anonymized": 5,
        "status=clean": 4,
        "status=failed": 1,
        "reason=unsupported_format": 1,
    }
    assert "image_id" in [own["name"] for own in release["facets"]["schema"]["fields"]]
    gates = {
        own["name"]: (own["status"], own["expected"], own["actual"]) for own in ended["run"]["facets"]["test"]["tests"]
    }
    assert gates == {"withheld": ("pass", "at most 0.01", "0"), "failed": ("fail", "at most 0.01", "0.1")}


def test_no_event_names_a_source_or_an_image(run: Run, events: Any, tmp_path: Path) -> None:
    start(run, finish(run))
    text = json.dumps(events())
    assert not any(part in text for part in ("Anna", f"{tmp_path}/src", "m.parquet", str(run.ledger.uri)))


def test_each_start_is_a_run_of_its_own_with_the_same_parent(run: Run, events: Any, tmp_path: Path) -> None:

    killed_observed = Observed(Silent(), lineage_of(run, [].append))
    killed_observed.started(run, Counter(), resumed=False)
    again, resumed = open_run(job(str(tmp_path), name="photos"), ())
    assert resumed
    start(again, finish(again))
    until = time.monotonic() + 10
    while len(events()) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    first, second, end = sorted(events(), key=lambda event: event["eventTime"])
    assert [event["eventType"] for event in (first, second, end)] == ["START", "START", "COMPLETE"]
    assert first["run"]["runId"] != second["run"]["runId"] == end["run"]["runId"]
    parents = {json.dumps(event["run"]["facets"]["parent"], sort_keys=True) for event in (first, second, end)}
    assert len(parents) == 1
    assert json.loads(parents.pop())["job"]["name"] == "photos"


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (KeyboardInterrupt(), "ABORT", "stopped; exit code 130"),
        (StoppedError("the budget is spent"), "ABORT", "stopped (the budget is spent); exit code 130"),
        (TerminatedError("terminated by SIGTERM"), "ABORT", "terminated (terminated by SIGTERM); exit code 75"),
        (ClusterError("lost at Anna_1.png"), "FAIL", "cluster; exit code 75"),
        (ValueError("Anna_1.png?token=abc"), "FAIL", "unexpected ValueError < act"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_end_by_an_error_is_sent_without_its_text(
    run: Run, events: Any, error: BaseException, state: str, message: str
) -> None:
    def act(_: Observed) -> None:
        raise error

    with pytest.raises(type(error)):
        start(run, act)
    ended = events()[-1]
    assert ended["eventType"] == state
    assert ended["run"]["facets"]["errorMessage"]["message"].startswith(message)
    assert "Anna" not in json.dumps(ended)


def test_nothing_is_sent_unless_a_place_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "openlineage.yml").write_text(f"transport: {{type: file, log_file_path: {tmp_path}/surprise}}\n")
    assert lineage_of(run, pytest.fail) == []
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "production")
    assert lineage_of(run, pytest.fail) == []
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert lineage_of(run, pytest.fail) == []


def test_a_missing_client_is_said_and_the_run_goes_on(run: Run, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    [warning] = start(run, finish(run))
    assert "its client is missing: pip install 'anon-batch[lineage]'" in warning
    assert events() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"OPENLINEAGE__TRANSPORT__TYPE": "pigeon"},
        {"OPENLINEAGE_CONFIG": "/nowhere.yml"},
        {"OPENLINEAGE__TRANSPORT__TYPE": "file"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_said_once(run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    [warning] = start(run, finish(run))
    assert warning.startswith("OpenLineage is not set up right, so no events are sent (OPENLINEAGE")


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", json.dumps({"total": 0}))


@pytest.mark.usefixtures("no_retries")
def test_a_place_that_cannot_be_reached_is_said_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", "http://127.0.0.1:9/?token=CANARY")
    warnings = start(run, finish(run))
    assert len(warnings) == 1
    assert warnings[0].startswith("OpenLineage events cannot be sent (ConnectionError: ")
    assert "CANARY" not in warnings[0] + capfd.readouterr().err


class _Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.gate.wait(30)
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    server.bodies, server.gate = [], threading.Event()
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("no_retries")
@pytest.mark.parametrize("variable", ["OPENLINEAGE__TRANSPORT__URL", "OPENLINEAGE_URL"])
def test_events_reach_a_server(run: Run, receiver: Any, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.gate.set()
    if variable == "OPENLINEAGE_URL":
        monkeypatch.setenv(variable, os.environ["OPENLINEAGE__TRANSPORT__URL"])
        for name in ("URL", "TYPE", "RETRY"):
            monkeypatch.delenv(f"OPENLINEAGE__TRANSPORT__{name}")
    assert start(run, finish(run)) == []
    assert [event["eventType"] for event in receiver.bodies] == ["START", "COMPLETE"]
    for event in receiver.bodies:
        check(event)


@pytest.mark.usefixtures("no_retries")
def test_a_server_that_hangs_holds_up_no_driver_that_must_stop(run: Run, receiver: Any) -> None:
    def act(_: Observed) -> None:
        raise TerminatedError("terminated by SIGTERM")

    begin = time.monotonic()
    with pytest.raises(TerminatedError):
        start(run, act)
    assert time.monotonic() - begin < lineage._LAST_EVENT_WHEN_STOPPED_S + 1


def test_datasets_are_named_as_the_specification_says() -> None:
    for uri, named in {
        "s3://bucket/a/b": ("s3://bucket", "a/b"),
        "gs://bucket/a": ("gs://bucket", "a"),
        "abfss://box@account.dfs.core.windows.net/a": ("abfss://box@account.dfs.core.windows.net", "a"),
        "s3://bucket": ("s3://bucket", "/"),
        "/data/out": ("file", "/data/out"),
    }.items():
        own = Named.at(uri)
        assert (own.namespace, own.name) == named


def test_the_namespace_of_jobs_is_the_clients(run: Run, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "production")
    start(run, finish(run))
    assert {event["job"]["namespace"] for event in events()} == {"production"}
    assert open_sink(pytest.fail) is not None
