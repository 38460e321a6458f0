"""Ray's job server: the part of its API that is needed, with errors that say what to do."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from anon_batch.cluster import ray_token
from anon_batch.errors import ClusterError, ConfigError
from anon_batch.redaction import redact, redact_address

_TIMEOUT_S = (10.0, 60.0)  # to connect, and between two bytes
_OLDEST_RAY = (2, 54)  # as in pyproject.toml
_ENVIRONMENT = "RAY_API_SERVER_ADDRESS"
_STATUS = re.compile(r"status code (\d{3})")
_LOUD = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")


class ServerAwayError(ClusterError):
    """The server does not answer, or not yet."""


class UnknownJobError(ConfigError):
    """The server knows no such job."""


class JobExistsError(ClusterError):
    """A job with this id exists."""


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job as its server describes it.

    Args:
        submission_id: its id.
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: what the server says about the status.
        error_type: of a job that failed, e.g. RUNTIME_ENV_SETUP_FAILURE.
        exit_code: of the driver; negative for a signal; None if it did not end by itself.
        started_at, ended_at: UTC.
        metadata: of the submission.
    """

    submission_id: str
    status: str
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("PENDING", "RUNNING")


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client with a timeout, because Ray's own waits for ever for a server that is silent."""

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        return super()._do_request(method, endpoint, **{"timeout": _TIMEOUT_S, **more})

    def ray_version(self) -> str:
        """Return the version of Ray on the cluster."""
        return str(self._do_request("GET", "/api/version").json().get("ray_version", ""))


class JobServer:
    """The job server of a cluster.

    Args:
        address: `http://HEAD:8265`, also https.

    Raises:
        ConfigError: no job server answers there, it wants another token, or its Ray is too old.
    """

    def __init__(self, address: str) -> None:
        self.address = redact_address(address.rstrip("/"))
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)
        ray_token.own_token()
        try:
            with _named(address), self._errors():
                self._client = _Client(address)
                version = self._client.ray_version()
        except ServerAwayError as exc:
            raise ConfigError(
                f"{exc}. --address is the address of the head's dashboard and job server, e.g. http://HEAD:8265; from outside "
                "its network use a tunnel (`ssh -L 8265:localhost:8265 HEAD`)"
            ) from None
        self._check_version(version)

    def _check_version(self, version: str) -> None:
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if numbers < _OLDEST_RAY:
            oldest = ".".join(map(str, _OLDEST_RAY))
            raise ConfigError(
                f"{self.address}: the cluster runs Ray {version or 'of an unknown version'}; its nodes need Ray {oldest} or "
                "newer and anon-batch"
            )

    def jobs(self) -> list[SubmittedJob]:
        """Return all submitted jobs that the server remembers."""
        with self._errors():
            return [_job(details) for details in self._client.list_jobs() if details.submission_id]

    def job(self, submission_id: str) -> SubmittedJob:
        """Return a job."""
        with self._errors():
            return _job(self._client.get_job_info(submission_id))

    def submit(self, submission_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> None:
        """Submit a job.

        Args:
            submission_id: its id.
            entrypoint: command line, which a shell on the head runs in a copy of the folder.
            folder: is sent whole.
            metadata: is shown by the dashboard.

        Raises:
            JobExistsError: the id was given away.
        """
        with self._errors():
            self._client.submit_job(
                submission_id=submission_id,
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(folder)},
                metadata=dict(metadata),
            )

    def stop(self, submission_id: str) -> None:
        """Ask for the end of a job: SIGTERM, and SIGKILL 3 s later."""
        with self._errors():
            self._client.stop_job(submission_id)

    def log(self, submission_id: str) -> str:
        """Return what the driver has printed until now."""
        with self._errors():
            return str(self._client.get_job_logs(submission_id))

    def tail(self, submission_id: str) -> AsyncIterator[str]:
        """Yield what the driver has printed and prints, from its beginning. It may end or break at any time."""
        stream: AsyncIterator[str] = self._client.tail_job_logs(submission_id)
        return stream

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the errors of Ray's client into those of this package."""
        try:
            yield
        except AuthenticationError as exc:
            raise ray_token.refused(self.address, sent=str(exc).startswith("Authentication failed")) from None
        except (OSError, requests.RequestException) as exc:  # requests' own errors are OSErrors, but for a few
            raise ServerAwayError(f"no Ray job server answers at {self.address} ({_reason(exc)})") from None
        except (RuntimeError, ValueError) as exc:
            raise _server_error(self.address, str(exc)) from None


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Let the address that was given win, because Ray's client prefers those of the environment."""
    before = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ENVIRONMENT]
        else:
            os.environ[_ENVIRONMENT] = before


def default_address() -> str | None:
    """Return the job server that the environment names; None if it names none."""
    named = (os.environ.get(name, "") for name in (_ENVIRONMENT, "RAY_ADDRESS"))
    return next((address for address in named if address.startswith(("http://", "https://"))), None)


def _job(details: Any) -> SubmittedJob:
    return SubmittedJob(
        details.submission_id or "",
        str(details.status),
        details.message or "",
        details.error_type,
        details.driver_exit_code,
        _time(details.start_time),
        _time(details.end_time),
        details.metadata or {},
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _reason(exc: Exception) -> str:
    """Return the innermost reason of an error of the network, in a few words."""
    inner: BaseException = exc
    while (next_inner := inner.__cause__ or inner.__context__) is not None:
        inner = next_inner
    text = " ".join(str(getattr(inner, "strerror", None) or inner or exc).split())
    if not text.isprintable():
        return "it does not speak HTTP"
    return redact(text)[:200] or type(exc).__name__


def _server_error(address: str, said: str) -> Exception:
    """Return the error for an answer of the server, which is often a traceback."""
    found = _STATUS.search(said)
    lines = redact(said).strip().rstrip(".").splitlines() or ["no reason given"]
    last = lines[-1].strip()[:300]
    if said.startswith("Version check"):
        return ServerAwayError(f"no Ray job server answers at {address} ({said.partition('.')[0]})")
    if "already exists" in said:
        return JobExistsError(f"{address}: {last}")
    if found and found[1] == "404" and "does not exist" in said:
        return UnknownJobError(f"{address}: {last.removeprefix('Request failed with status code 404: ')}")
    if found and found[1].startswith("5"):
        return ServerAwayError(f"the job server at {address} cannot serve now ({last})")
    return ConfigError(f"{address}: {last}")
