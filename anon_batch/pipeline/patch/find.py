"""Find the rows that a patch does again, shard by shard: by their verdicts, reasons and regions, or by searching them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from anon_batch.divided_work import attempt
from anon_batch.errors import (
    IntegrityError,
    ObjectNotFoundError,
)
from anon_batch.formats import layout
from anon_batch.formats.tombstone import ERASED
from anon_batch.formats.touched_rows import TouchedRow, TouchedRows
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.pipeline.patch.drawn import drawn_in_audit, to_detections, union
from anon_batch.pipeline.patch.job import PatchJob
from anon_batch.pipeline.patch.search import Candidate, Searcher
from anon_batch.pipeline.patch.tasks import FindResult, FindTask


class _Row(NamedTuple):
    number: int
    public: Mapping[str, Any]
    audit: Mapping[str, Any]
    drawn: tuple[DrawnBox, ...]

    @property
    def published(self) -> bool:
        return self.public["output"] is not None

    def touched(self, why: str) -> TouchedRow:
        # Because boxes were drawn and rows compared by the source that was published, another file must not pass for it.
        return TouchedRow(self.number, why, self.audit["source_sha256"] if self.published else None, self.drawn)


class RowFinder:
    """Find rows. Models are loaded once, and only if rows have to be searched.

    Args:
        job: what to look for.

    Attributes:
        progress_at: when the last batch was finished, by the monotonic clock.
        busy: whether a task is in progress.

    Raises:
        AnonBatchError: a model cannot be loaded.
    """

    def __init__(self, job: PatchJob) -> None:
        self._job = job
        self._planned = job.planned_rows()
        io = ThreadPoolExecutor(job.config.engine.io_threads, thread_name_prefix="io")
        self._searcher = None if job.changes.search == "none" else Searcher(job, io)
        self.progress_at = time.monotonic()
        self.busy = False

    def process(self, task: FindTask) -> FindResult:
        """Make one attempt at a task. Never raise: every error is returned as a result."""
        self.progress_at, self.busy = time.monotonic(), True
        try:
            return attempt(task, self.find)
        finally:
            self.busy = False

    def find(self, task: FindTask) -> TouchedRows:
        """Return the rows of a task that have to be done again.

        Raises:
            IntegrityError: release or ledger is damaged.
            StorageError: storage keeps failing, not for one source alone.
        """
        touched: list[TouchedRow] = []
        unsearched: Counter[str] = Counter()
        to_search: list[_Row] = []
        for row in self._rows(task):
            if why := self._why(row):
                touched.append(row.touched(why))
            elif self._searcher is not None and row.public["status"] != "failed":
                to_search.append(row)
        for row, answer in self._search(task, to_search):
            if answer is True:
                touched.append(row.touched("detections"))
            elif isinstance(answer, str) and row.published:
                unsearched[answer] += 1
        return TouchedRows(tuple(sorted(touched, key=lambda own: own.number)), dict(unsearched))

    def _rows(self, task: FindTask) -> Iterator[_Row]:
        """Yield the rows of a task that are not erased."""
        spec, rows, job = task.spec, task.rows, self._job
        part = job.release.read_part(spec)
        key = layout.audit_part(spec.name, part.meta.attempt)
        try:
            audit = job.ledger.read_audit(spec, part.meta.attempt)
        except ObjectNotFoundError:
            raise IntegrityError(f"{job.ledger.address(key)}: missing; restore it from a backup") from None
        if not len(audit) == len(part.table) == spec.count:
            raise IntegrityError(f"{key}: {len(audit)} rows, its part has {len(part.table)}, expected {spec.count}")
        tables = [table.slice(rows.start - spec.start, rows.count).to_pylist() for table in (part.table, audit)]
        for number, public, private in zip(range(rows.start, rows.stop), *tables, strict=True):
            if public["reason"] != ERASED:
                yield _Row(
                    number, public, private, union(drawn_in_audit(private), job.drawn.get(public["image_id"], ()))
                )

    def _why(self, row: _Row) -> str:
        """Return why a row is done again whatever is found in it; "" if a search has to decide."""
        job, status, found = self._job, row.public["status"], row.audit["detections"]
        if row.public["reason"] in job.ask.retry:
            return "retry"
        if job.ask.verdicts and row.published and len(row.drawn) > len(union(drawn_in_audit(row.audit))):
            return "verdict"
        if job.changes.regions and (row.public["regions"] or (status == "withheld" and found != [])):
            return "settings"
        if job.changes.search != "none" and status == "withheld" and found is None:
            return "detections"
        return ""

    def _search(self, task: FindTask, rows: Sequence[_Row]) -> Iterator[tuple[_Row, bool | str]]:
        if self._searcher is None or not rows:
            return
        planned = self._planned.read(task.rows)
        by_id = {row.public["image_id"]: row for row in rows}
        candidates = [
            Candidate(
                replace(planned[row.number - task.rows.start], drawn=to_detections(row.drawn)), row.audit, row.published
            )
            for row in rows
        ]
        for batch in self._searcher.search(candidates):
            for own, answer in batch:
                yield by_id[own.row.image_id], answer
            self.progress_at = time.monotonic()
