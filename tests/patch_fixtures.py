"""Patches in this process: workers without Ray, verdicts of a review, and what a release holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from anon_batch.config import JobConfig, load_job
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.verdicts_json import DrawnBox, Verdict, Verdicts
from anon_batch.pipeline.patch.find import RowFinder
from anon_batch.pipeline.patch.job import Ask, PatchJob, job_base, open_patch
from anon_batch.pipeline.patch.patch import PatchSummary, finish_begun, patch
from anon_batch.pipeline.patch.staging import StagedRun
from anon_batch.pipeline.patch.tasks import FindResult, FindTask
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.shards import effective, pending
from anon_batch.storage import Storage


class Here:
    """Work in this process, as drivers do with Ray."""

    def __init__(self, between: Callable[[], None] = lambda: None) -> None:
        self.searched: list[str] = []
        self.redone = 0
        self._between = between

    def find(self, job: PatchJob, tasks: Iterable[FindTask]) -> Iterator[FindResult]:
        finder = RowFinder(job)
        for task in tasks:
            self.searched.append(task.rows.name)
            yield finder.process(task)

    def redo(self, run: StagedRun) -> None:
        self._between()
        processor = ShardProcessor(run)
        for spec in pending(run.plan.total, run.plan.shard_rows, run.release.parts(), ()):
            result = processor.process(spec)
            assert result.outcome in ("committed", "already_committed"), result.error
            self.redone += spec.count


class Quiet:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def started(self, what: str, rows: int) -> None: ...
    def done(self, rows: int) -> None: ...
    def note(self, text: str) -> None:
        self.notes.append(text)


def patch_release(
    run: Run, ask: Ask | None = None, job: JobConfig | None = None, workers: Here | None = None, **settings: Any
) -> PatchSummary:
    """Patch a release as the command does. `settings` are keys with `__` for dots; a `job` names its manifest."""
    place, ledger = Release(run.storage, run.release.uri), Ledger(run.ledger.storage, run.ledger.uri)
    dry_run = settings.pop("dry_run", False)
    ended = finish_begun(place, ledger)
    given = {name.replace("__", "."): value for name, value in settings.items()}
    keys = {"run_key_file": run.config.run_key_file, **given}
    config = job or load_job(None, {**job_base(place, ledger), **keys})
    opened = open_patch(place, ledger, config, ask or Ask(), preflight, reads_manifest=job is not None)
    return ended or patch(opened, workers or Here(), Quiet(), dry_run=dry_run)


def review(run: Run, boxes: dict[str, list[DrawnBox]], name: str = "0123456789abcdef", **marks: Any) -> None:
    """Put the verdicts of a review into the ledger; an id without boxes is marked as missed too."""
    verdicts = [Verdict(image_id, "missed", tuple(own)) for image_id, own in boxes.items()]
    content = Verdicts(run.plan.run_id, name, "s", "2026-01-01T00:00:00+00:00", "1", ("r",), tuple(verdicts))
    Storage().put(run.ledger.address(f"{layout.LEDGER_REVIEW}/verdicts-{name}.json"), content.to_json())


def rows_of(run: Run) -> list[dict[str, Any]]:
    place = Release(run.storage, run.release.uri)
    return [row for spec in effective(place.parts()) for row in place.read_part(spec).table.to_pylist()]


def audit_of(run: Run) -> list[dict[str, Any]]:
    place = Release(run.storage, run.release.uri)
    parts = ((spec, place.read_part(spec).meta.attempt) for spec in effective(place.parts()))
    return [row for spec, attempt in parts for row in run.ledger.read_audit(spec, attempt).to_pylist()]


def files_of(run: Run) -> dict[str, bytes]:
    place = Release(run.storage, run.release.uri)
    return {info.key: place.read(info.key) for info in place.objects("")}


def images_of(run: Run) -> dict[str, bytes]:
    """Return image id -> the file that is published of it, in any layout."""
    from anon_batch.formats.shard_file import read_members

    files, images = files_of(run), {}
    for row in rows_of(run):
        if row["output"] is not None:
            data = files[row["output"]]
            images[row["image_id"]] = (
                data if row["member"] is None else dict(read_members(data, row["output"]))[row["member"]]
            )
    return images


def private_files(run: Run) -> list[str]:
    """Return what patches left in the ledger."""
    folder = Path(run.ledger.uri) / layout.LEDGER_PATCH
    return [str(path) for path in folder.rglob("*")] if folder.exists() else []
