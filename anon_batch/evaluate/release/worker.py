"""Measure one task after the other: models are loaded once, and only numbers are returned."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from anon_batch.divided_work import attempt
from anon_batch.errors import (
    WithheldError,
)
from anon_batch.evaluate.release.job import ReleaseJob
from anon_batch.evaluate.release.meter import ReleaseMeter
from anon_batch.evaluate.release.rows import MeasuredRow, RowReader
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task, TaskResult
from anon_batch.models.runtime import Runtime


class ReleaseMeasurer:
    """Measure tasks of one release.

    Args:
        job: what to measure.

    Attributes:
        models: `name@sha256` of every model that measures.
        progress_at: when the last batch was finished, by the monotonic clock.
        busy: whether a task is in progress.

    Raises:
        AnonBatchError: a model cannot be loaded.
    """

    def __init__(self, job: ReleaseJob) -> None:
        self._batch_size = job.config.detect.batch_size
        self._meter = ReleaseMeter(job, Runtime.for_job(job.config, job.storage))
        self.models = self._meter.models
        self._reader = RowReader(job)
        self.progress_at = time.monotonic()
        self.busy = False

    def process(self, task: Task) -> TaskResult:
        """Make one attempt at a task. Never raise: every error is returned as a result."""
        self.progress_at, self.busy = time.monotonic(), True
        try:
            return attempt(task, self._measure)
        finally:
            self.busy = False

    def _measure(self, task: Task) -> ReleaseState:
        state = ReleaseState()
        for spec, offsets in task.parts:
            for batch in self._reader.read(spec, offsets, self._batch_size):
                state = state.merge(self._batch(batch))
                self.progress_at = time.monotonic()
        return state

    def _batch(self, rows: Sequence[MeasuredRow]) -> ReleaseState:
        state = ReleaseState(
            Counter(row.status for row in rows), Counter(row.unread for row in rows if row.unread)
        ).merge(self._measured(rows))
        for row in rows:
            row.release()
        return state

    def _measured(self, rows: Sequence[MeasuredRow]) -> ReleaseState:
        try:
            return self._meter.measure(rows)
        except WithheldError:
            if len(rows) == 1:
                return ReleaseState(unmeasured={"detect": 1})
        state = ReleaseState()
        for row in rows:  # one by one, so that an image that a detector fails on costs itself alone
            state = state.merge(self._measured([row]))
        return state
