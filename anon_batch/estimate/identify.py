"""Measures the pass that compares faces, which comes before a run, on the sample of the estimate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from anon_batch.config import JobConfig
from anon_batch.errors import ClusterError
from anon_batch.models.runtime import Runtime
from anon_batch.pipeline.identify.job import IdentifyJob, open_pass
from anon_batch.pipeline.identify.tasks import TASK_ROWS, divide
from anon_batch.pipeline.identify.worker import FaceFinder, name_of
from anon_batch.recognition.embedder import load_embedder
from anon_batch.storage import Storage


@dataclass(frozen=True, slots=True)
class PassMeasurement:
    """What the pass took for the sample, without loading the models and without the assignment.

    Args:
        rows: of the sample.
        seconds, cpu_s: wall time and CPU time of one worker.
        faces: that were found.
        requests: to detectors that are services, by name.
        task_rows: rows of a task.
    """

    rows: int
    seconds: float
    cpu_s: float
    faces: int
    requests: Mapping[str, int]
    task_rows: int = TASK_ROWS

    def worker_hours(self, total_rows: int, cpus: float) -> float:
        """Return the hours of one worker with so many CPUs for all rows."""
        return total_rows * max(self.seconds, self.cpu_s / cpus) / self.rows / 3600


def measure_pass(sample: JobConfig, models: tuple[str, ...]) -> PassMeasurement:
    """Look for the faces of a sample. Features go, encrypted, into the sample's ledger, which is deleted.

    Raises:
        UsageError: manifest, models or settings are wrong.
        ClusterError: rows could not be searched.
    """
    runtime = Runtime.for_job(sample, Storage(sample.storage))
    embedder = name_of(load_embedder(runtime.store, sample.identity.embedder, runtime.threads))
    job = open_pass(sample, models, embedder)
    if not isinstance(job, IdentifyJob):
        raise ClusterError("the sample's folder was used by another command")
    finder = FaceFinder(job)
    begin, cpu_begin, faces = time.perf_counter(), time.process_time(), 0
    for task in divide(job.plan.total, ()):
        result = finder.process(task)
        if result.value is None:
            raise ClusterError(f"the sample's faces could not be found: {result.error}")
        faces += result.value
    seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
    return PassMeasurement(job.plan.total, seconds, cpu_s, faces, dict(finder.requests))
