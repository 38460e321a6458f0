"""Answers of a job server, over real HTTP, and what a user reads about them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anon_batch.cluster.jobs import server as job_server
from anon_batch.cluster.jobs.server import (
    JobExistsError,
    JobServer,
    ServerAwayError,
    UnknownJobError,
    default_address,
)
from anon_batch.errors import ConfigError

Answer = tuple[int, str]
VERSION = (200, json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}))
DETAILS = {
    "type": "SUBMISSION",
    "submission_id": "anon-12345678-1",
    "status": "FAILED",
    "entrypoint": "anon-batch run job.yaml",
    "message": "failed",
    "start_time": 1_767_225_600_000,
    "end_time": 1_767_225_660_000,
    "metadata": {"anon_batch_job": "1"},
    "driver_exit_code": 75,
}


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """Answer requests by method and path; the version is known."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = answer(self.command, self.path)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET  # noqa: N815  as http.server wants them

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def server_that_answers(status: int, text: str) -> Iterator[JobServer]:
    """Answer all requests but that for the version with this."""
    with serving(lambda _, path: VERSION if path == "/api/version" else (status, text)) as address:
        yield JobServer(address)


def test_a_job_is_read() -> None:
    with server_that_answers(200, json.dumps(DETAILS)) as server:
        job = server.job("anon-12345678-1")
    assert (job.submission_id, job.status, job.is_live, job.exit_code) == ("anon-12345678-1", "FAILED", False, 75)
    assert (str(job.started_at), str(job.ended_at)) == ("2026-01-01 00:00:00+00:00", "2026-01-01 00:01:00+00:00")
    assert job.metadata == {"anon_batch_job": "1"}


def test_jobs_of_drivers_without_a_submission_are_left_out() -> None:
    driver = {**DETAILS, "type": "DRIVER", "submission_id": None, "job_id": "01000000"}
    with server_that_answers(200, json.dumps([DETAILS, driver])) as server:
        assert [job.submission_id for job in server.jobs()] == ["anon-12345678-1"]


@pytest.mark.parametrize(
    ("status", "text", "error", "said"),
    [
        (404, "Job anon-1 does not exist", UnknownJobError, "Job anon-1 does not exist"),
        (
            500,
            "Traceback (most recent call last):\n  x\nRuntimeError: no GCS",
            ServerAwayError,
            "cannot serve now (RuntimeError: no GCS)",
        ),
        (503, "upstream", ServerAwayError, "cannot serve now"),
        (400, "Traceback\nTypeError: field", ConfigError, "TypeError: field"),
        (401, "Unauthorized: Missing authentication token", ConfigError, "asks for a token, and none was sent"),
        (403, "Forbidden: Invalid authentication token", ConfigError, "refuses this token"),
        (200, "<html>", ServerAwayError, "no Ray job server answers"),
    ],
)
def test_answers_become_errors(status: int, text: str, error: type[Exception], said: str) -> None:
    with server_that_answers(status, text) as server, pytest.raises(error) as caught:
        server.job("anon-1")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.address in str(caught.value)


def test_an_id_that_was_given_away(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("manifest: x")

    def answer(method: str, path: str) -> Answer:
        if path == "/api/version":
            return VERSION
        text = "Traceback\nValueError: Job with submission_id a already exists. Please use a different submission_id."
        return (500, text) if method == "POST" else (200, "{}")

    with serving(answer) as address, pytest.raises(JobExistsError):
        JobServer(address).submit("a", "x", tmp_path, {})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "not here"), "no Ray job server answers at http://127.0.0.1"),
        ((500, "broken"), "no Ray job server answers at http://127.0.0.1"),
        ((200, "<html>"), "no Ray job server answers at http://127.0.0.1"),
        ((401, "Unauthorized"), "asks for a token, and none was sent because RAY_AUTH_MODE is not set"),
        (
            (200, json.dumps({"version": "4", "ray_version": "2.9.3", "ray_commit": "x"})),
            "the cluster runs Ray 2.9.3; its nodes need Ray 2.54",
        ),
    ],
)
def test_what_is_no_job_server_for_us(answer: Answer, said: str) -> None:
    with serving(lambda *_: answer) as address, pytest.raises(ConfigError) as caught:
        JobServer(address)
    assert said in str(caught.value)


def test_an_address_where_nothing_listens() -> None:
    with pytest.raises(ConfigError, match=r"answers at http://127\.0\.0\.1:1 \(Connection refused\)\. --address is"):
        JobServer("http://127.0.0.1:1")


def test_a_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_server, "_TIMEOUT_S", (0.2, 0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConfigError, match="no Ray job server answers"),
    ):
        JobServer(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_server_that_speaks_something_else() -> None:
    def greet(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        with pytest.raises(
            ConfigError, match=r"no Ray job server answers at .* \((it does not speak HTTP|Connection reset by peer)\)"
        ):
            JobServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_the_address_that_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")
    with serving(lambda *_: VERSION) as address:
        assert JobServer(address).address == address
    assert default_address() == "http://127.0.0.1:2"
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    assert default_address() == "http://127.0.0.1:1"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert default_address() is None


def test_credentials_of_an_address_are_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        JobServer("http://me:canary@127.0.0.1:1")
    assert "canary" not in str(caught.value)
