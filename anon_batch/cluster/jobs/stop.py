"""Stop a submitted job."""

from __future__ import annotations

import time
from collections.abc import Callable

from anon_batch.cluster.jobs.server import JobServer, SubmittedJob
from anon_batch.errors import ClusterError
from anon_batch.units import format_duration

PATIENCE_S = 60.0
_POLL_S = 1.0


def stop_job(
    server: JobServer,
    submission_id: str,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> SubmittedJob:
    """Stop a job and return it when it has ended. Ray sends SIGTERM to the driver, and SIGKILL 3 s later; commits stay.

    Raises:
        ClusterError: it has not ended after a while.
    """
    until = clock() + patience_s
    while (job := server.job(submission_id)).is_live:
        if clock() >= until:
            raise ClusterError(
                f"{submission_id} has not ended within {format_duration(patience_s)} ({job.status}: {job.message}); run the same "
                "command again"
            )
        server.stop(submission_id)  # each time, because a job that is not set up yet misses it
        sleep(_POLL_S)
    return job
