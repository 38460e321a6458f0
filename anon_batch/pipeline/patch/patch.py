"""Make a version of a release by doing again only the rows that a change touches. Knows nothing of Ray.

    find rows -> claim the version -> keep the list of rows -> do them in a staged run -> put what changed into the release
              -> publish the version -> delete what it replaced, and the staged run

Whatever dies, the same command goes on where it stopped; until the version is published, the release is what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from anon_batch.errors import AnonBatchError, IntegrityError, ResumeRefusedError, StorageError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.touched_rows import TouchedRow, TouchedRows
from anon_batch.pipeline.finalize import Finished
from anon_batch.pipeline.patch.job import PatchJob
from anon_batch.pipeline.patch.merge import Changed, StagedRows, compare_rows, merge_rows
from anon_batch.pipeline.patch.staging import StagedRun, Staging
from anon_batch.pipeline.patch.tasks import FindResult, FindTask, divide, find_all
from anon_batch.pipeline.versions.begin import NewVersion, begin_version
from anon_batch.pipeline.versions.finish import finish_version, publish_version
from anon_batch.shards import effective

_PUBLIC_WHYS = {
    "detections": "other_detections",
    "retry": "retried",
    "settings": "other_settings",
    "verdict": "found_by_review",
}


class Workers(Protocol):
    """Does the work of a patch, on Ray or in this process."""

    def find(self, job: PatchJob, tasks: Iterable[FindTask]) -> Iterator[FindResult]:
        """Make one attempt at each task."""

    def redo(self, run: StagedRun) -> None:
        """Process the shards of a staged run that have no commit yet."""


class Reporter(Protocol):
    """Receives the progress of a patch."""

    def started(self, what: str, rows: int) -> None: ...
    def done(self, rows: int) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PatchSummary:
    """How a patch ended.

    Args:
        version: the one that it made; None if nothing changed, or nothing was to be changed yet.
        touched: why -> rows that are done again.
        unsearched: reason -> published rows that could not be searched, so that they stay as they are.
        changed: what came out differently.
        finished: statistics and gates of the new version.
    """

    version: int | None = None
    touched: Mapping[str, int] = field(default_factory=dict)
    unsearched: Mapping[str, int] = field(default_factory=dict)
    changed: Changed = field(default_factory=Changed)
    finished: Finished | None = None


def finish_begun(release: Release, ledger: Ledger) -> PatchSummary | None:
    """Bring a patch that was published and did not end to its end; return None if there is none.

    Raises:
        IntegrityError, StorageError: as `finish_version`.
    """
    plan = ledger.version_in_the_making()
    if plan is None or plan.kind != "patch" or (finished := finish_version(release, ledger)) is None:
        return None
    release.look_up_versions()
    return PatchSummary(plan.number, finished=finished)


def find_rows(job: PatchJob, workers: Workers, reporter: Reporter) -> TouchedRows:
    """Find the rows that have to be done again. What was found is kept in the ledger until the version is made.

    Raises:
        AnonBatchError: see `find_all`.
    """
    kept = _KeptFindings(job)
    found = kept.read()
    searched = job.changes.search != "none"
    tasks = [task for task in divide(effective(job.release.parts()), searched=searched) if task.rows.name not in found]
    reporter.started("searched" if searched else "looked at", sum(t.rows.count for t in tasks))

    def done(task: FindTask, own: TouchedRows) -> None:
        found[task.rows.name] = own
        if searched and not own.unsearched:  # else it is quick, or may end better, next time
            kept.write(task, own)
        reporter.done(task.rows.count)

    find_all(tasks, lambda some: workers.find(job, some), done, reporter.note)
    unsearched = Counter[str]()
    for own in found.values():
        unsearched.update(own.unsearched)
    rows = sorted((row for own in found.values() for row in own.rows), key=lambda row: row.number)
    return TouchedRows(tuple(rows), dict(sorted(unsearched.items())))


def patch(job: PatchJob, workers: Workers, reporter: Reporter, *, dry_run: bool = False) -> PatchSummary:
    """Find the rows, do them again and make a version of what changed. Call `finish_begun` before `open_patch`.

    Args:
        job: what to do.
        workers: do it.
        reporter: hears of it.
        dry_run: end when the rows are found.

    Raises:
        ResumeRefusedError: another command has begun a version, or made one meanwhile.
        AnonBatchError: see `find_all`, `rounds.drive` and `pipeline.versions`.
    """
    release, ledger = job.release, job.ledger
    begun = ledger.version_in_the_making() is not None
    new = begin_version(release, ledger, "patch", job.request) if begun else None
    touched = Staging(ledger, new.attempt).read_rows() if new else None
    if touched is None:
        touched = find_rows(job, workers, reporter)
    why = dict(sorted(Counter(row.why for row in touched.rows).items()))
    if dry_run or not touched.rows:
        if new is not None and not dry_run:
            _abandon(new)
        if not touched.rows and not dry_run:
            _KeptFindings(job).delete()
        return PatchSummary(None, why, touched.unsearched)
    new = new or _begin(job)
    try:
        return _make(job, new, touched, workers, reporter)
    except AnonBatchError:  # because another process may have made the version, and deleted what this one works with
        release.look_up_versions()
        if release.version < new.plan.number:
            raise
        reporter.note(f"another process has made version {new.plan.number} meanwhile")
        return _summary(job, new, touched, Changed())


def _begin(job: PatchJob) -> NewVersion:
    """Claim the next version, unless the release has changed since its rows were found."""
    number = job.release.version
    job.release.look_up_versions()
    new = begin_version(job.release, job.ledger, "patch", job.request) if job.release.version == number else None
    if new is None or new.plan.done:
        raise ResumeRefusedError(
            f"{job.release.uri}: another command has made version {number + 1} meanwhile; run this one again"
        )
    return new


def _make(job: PatchJob, new: NewVersion, found: TouchedRows, workers: Workers, reporter: Reporter) -> PatchSummary:
    staging = Staging(job.ledger, new.attempt)
    touched = staging.keep_rows(found)
    run = staging.open_run(job, touched)
    reporter.started("done again", len(touched.rows))
    workers.redo(run)
    staged = StagedRows(run)
    changed = compare_rows(job.release, staged, touched.rows)
    if not changed.count:
        _abandon(new)
        _KeptFindings(job).delete()
        return PatchSummary(None, _whys(touched.rows), touched.unsearched, changed)
    reporter.started("put into the release", changed.count)
    merge_rows(new, job, staged, changed, reporter.done)
    publish_version(
        new,
        list(changed.rows),
        changes=_public_changes(changed, touched),
        config=job.changes.config,
        models=job.models,
    )
    return _summary(job, new, touched, changed)


def _summary(job: PatchJob, new: NewVersion, touched: TouchedRows, changed: Changed) -> PatchSummary:
    finished = finish_version(job.release, job.ledger)
    if finished is None:  # because another process has finished the version already
        gates = job.release.read_gates()
        if gates is None:
            raise IntegrityError(f"{job.release.address(layout.GATES)}: missing; `anon-batch verify` says more")
        finished = Finished(job.release.read_stats(), gates)
    Staging(job.ledger, new.attempt).delete()
    return PatchSummary(new.plan.number, _whys(touched.rows), touched.unsearched, changed, finished)


def _public_changes(changed: Changed, touched: TouchedRows) -> dict[str, int]:
    """Return what a version says about itself: how many rows changed, why, and what they are now."""
    whys = {_PUBLIC_WHYS[why]: count for why, count in changed.whys.items()}
    unsearched = sum(touched.unsearched.values())
    return {
        "changed": changed.count,
        **whys,
        **changed.statuses,
        **({"not_searched": unsearched} if unsearched else {}),
    }


def _whys(rows: Iterable[TouchedRow]) -> dict[str, int]:
    return dict(sorted(Counter(row.why for row in rows).items()))


def _abandon(new: NewVersion) -> None:
    """Give up a version that would change nothing: its number is free again."""
    Staging(new.ledger, new.attempt).delete()
    new.ledger.delete([layout.version_file(new.plan.number)])


class _KeptFindings:
    """What was found in each task, by what it was found with: below LEDGER/patch/found-<digest>/.

    Args:
        job: decides what is found.
    """

    def __init__(self, job: PatchJob) -> None:
        self._ledger = job.ledger
        self._folder = f"{layout.LEDGER_PATCH}/found-{job.search_sha256[:16]}"

    def read(self) -> dict[str, TouchedRows]:
        """Return name of the rows -> findings."""
        found = {}
        for info in self._ledger.objects(self._folder):
            if info.key.endswith(".parquet"):
                address = self._ledger.address(f"{self._folder}/{info.key}")
                found[info.key.removesuffix(".parquet")] = TouchedRows.from_parquet(
                    self._ledger.storage.read(address), address
                )
        return found

    def write(self, task: FindTask, found: TouchedRows) -> None:
        """Keep the findings of a task."""
        address = self._ledger.address(f"{self._folder}/{task.rows.name}.parquet")
        with suppress(StorageError):  # because it can be found again, and a dry run may have no right to write
            self._ledger.storage.put(address, found.to_parquet())

    def delete(self) -> None:
        """Delete all findings."""
        self._ledger.delete(f"{self._folder}/{info.key}" for info in self._ledger.objects(self._folder))
        self._ledger.storage.prune(self._ledger.address(self._folder))
