"""Submit a job once: a second command for the same job attaches to it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from anon_batch.cluster.jobs.identity import JobIdentity
from anon_batch.cluster.jobs.server import JobExistsError, JobServer, ServerAwayError, SubmittedJob
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError

JOB_FILE = "job.yaml"
_TRIES = 5
_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that runs for this command.

    Args:
        submission_id: its id.
        attached: whether it ran before.
        other_settings: whether it runs with other workers, limits or gates than those of this command.
    """

    submission_id: str
    attached: bool
    other_settings: bool = False


def submit(
    server: JobServer,
    config: JobConfig,
    identity: JobIdentity,
    entrypoint: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Submission:
    """Submit a job, or attach to the live one.

    The id of a try can be given once, so that of two commands that race one submits and the other attaches.

    Args:
        server: of the cluster.
        config: the job, with absolute addresses; the cluster receives it as a file, with its storage options.
        identity: of the job.
        entrypoint: starts the driver in the folder of the job file.
        sleep: pauses.

    Raises:
        ConfigError: another job writes this OUTPUT.
        ServerAwayError: the server cannot take jobs.
    """
    for number in range(1, _TRIES + 1):
        jobs = server.jobs()
        if (live := _live(jobs, identity)) is not None:
            of_live = JobIdentity.from_metadata(live.metadata or {})
            return Submission(live.submission_id, True, of_live != identity)
        new = identity.submission_id(1 + max((identity.number_of(job.submission_id) for job in jobs), default=0))
        try:
            _send(server, config, identity, new, entrypoint)
            return Submission(new, False)
        except JobExistsError:  # another command was faster
            sleep(_PAUSE_S / 4)
        except ServerAwayError:  # the answer was lost, or no agent could take the job; the next list shows which
            if number == _TRIES:
                raise
            sleep(_PAUSE_S)
    raise ServerAwayError(
        f"{server.address}: the id of each try was given away to another job; run the same command again"
    )


def find(server: JobServer, identity: JobIdentity) -> SubmittedJob | None:
    """Return the job that writes an OUTPUT, whatever its settings: the live one, else the latest; None if there is none."""
    own = [
        job
        for job in server.jobs()
        if (found := JobIdentity.from_metadata(job.metadata or {})) is not None and found.output == identity.output
    ]
    return max(
        own, key=lambda job: (job.is_live, job.started_at is not None and job.started_at.timestamp()), default=None
    )


def _live(jobs: list[SubmittedJob], identity: JobIdentity) -> SubmittedJob | None:
    """Return the live job with this identity.

    Raises:
        ConfigError: another job writes the same OUTPUT.
    """
    for job in jobs:
        found = JobIdentity.from_metadata(job.metadata or {})
        if not job.is_live or found is None or found.output != identity.output:
            continue
        if found.job != identity.job:
            raise ConfigError(
                f"{job.submission_id} writes the same OUTPUT and was submitted with other settings. Wait for it, stop it with "
                f"`anon-batch submit {job.submission_id} --stop`, or choose another output"
            )
        return job
    return None


def _send(server: JobServer, config: JobConfig, identity: JobIdentity, new: str, entrypoint: str) -> None:
    with tempfile.TemporaryDirectory(prefix="anon-batch-") as folder:
        file = Path(folder, JOB_FILE)
        file.touch(mode=0o600)  # because it may hold keys of a store; Ray keeps the mode on the nodes
        file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        server.submit(new, entrypoint, Path(folder), identity.metadata)
