"""Publish a version whose parts are written, then delete what it replaced and make the statistics again.

A version exists from the moment that `versions/<n>.json` does. Whatever dies later, `finish_version` brings it to its end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anon_batch.config import GatesConfig, validate
from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.part_digests import hash_parts
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.version_json import Tombstone, Version
from anon_batch.formats.version_plan import VersionPlan
from anon_batch.pipeline.finalize import Finished, delete_orphans, read_commits, write_summaries
from anon_batch.pipeline.versions.begin import NewVersion
from anon_batch.records import ShardSpec
from anon_batch.shards import effective


def publish_version(
    new: NewVersion,
    parts: Sequence[ShardSpec],
    *,
    tombstones: Sequence[Tombstone] = (),
    changes: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | None = None,
    models: Sequence[str] = (),
) -> Version:
    """Make the version count: write versions/1.json before the first, then versions/<n>.json. Call `finish_version` next.

    Args:
        new: the version in the making; `rewrite_part` has written its parts.
        parts: the shards that it rewrote.
        tombstones: rows that it erased.
        changes: what changed -> number of rows.
        config: public sections of the job that made the changed rows, where they differ.
        models: `name@sha256` of the models of that job.

    Raises:
        IntegrityError: versions/1.json or the version is there already, with another content.
    """
    release, plan = new.release, new.plan
    if not release.versions:
        release.publish_version(_first_version(release, new.run))
        release.look_up_versions()
    parent = release.versions[-1]
    rewritten = {spec.name: plan.number for spec in parts}
    version = Version(
        plan.number,
        plan.kind,
        new.run.run_id,
        plan.created_at,
        hash_parts(release, rewritten),
        parent.sha256,
        plan.parent_stats_sha256,
        tuple(spec.name for spec in sorted(parts)),
        tuple(sorted(tombstones, key=lambda own: own.row)),
        dict(changes or {}),
        dict(config or {}),
        tuple(models),
    )
    if (there := release.publish_version(version)).sha256 != version.sha256:
        raise IntegrityError(f"{release.uri}: version {there.number} is there already, and it is another one")
    return version


def finish_version(
    release: Release, ledger: Ledger, clean: Callable[[VersionPlan], None] | None = None
) -> Finished | None:
    """Bring a published version to its end: delete what it replaced, make stats.json, gates.json and run.json again.

    What describes the version before (card, Croissant, report, signature) is deleted; `anon-batch release` writes it again.

    Args:
        release: the public files.
        ledger: the private files.
        clean: what else the command deletes, for example from the ledger; called before the version is marked as done.

    Returns:
        None if there is nothing to finish: no version was begun, or the last one is done or not published yet.
    """
    release.look_up_versions()
    plan = ledger.version_in_the_making()
    if plan is None or plan.number != release.version or not release.versions:
        return None
    run_plan = ledger.plan()
    if run_plan is None:
        raise IntegrityError(f"{ledger.uri}: no {layout.LEDGER_PLAN}")
    record = release.read_run_json()
    release.delete(sorted({*layout.DESCRIPTIONS, *record.metadata_keys}))
    delete_replaced(release)
    commits = read_commits(release, ledger, run_plan, effective(release.parts()))
    delete_orphans(release, ledger, run_plan, commits.winners)
    _delete_patch_files(ledger)
    if clean is not None:
        clean(plan)
    limits = validate(GatesConfig, record.gates, f"{layout.RUN}: gates")
    finished = write_summaries(release, commits, record, limits)
    ledger.replace_version_plan(dataclasses.replace(plan, done=True))
    return finished


def delete_replaced(release: Release) -> None:
    """Delete the parts that the current version replaced, and before them the images that they alone name."""
    for name in release.other_parts():
        if name.version > release.version:
            continue  # because a version in the making is nobody's yet
        old = _outputs(release, name.spec, name.version)
        release.delete(sorted(old - _outputs(release, name.spec, None)))
        release.delete([layout.provenance_part(name.spec.name, name.version)])


def _delete_patch_files(ledger: Ledger) -> None:
    """Delete what patches kept while they worked: it is about the version before, and may hold rows that were erased."""
    ledger.delete(f"{layout.LEDGER_PATCH}/{info.key}" for info in ledger.objects(layout.LEDGER_PATCH))
    ledger.storage.prune(ledger.address(layout.LEDGER_PATCH))


def _outputs(release: Release, spec: ShardSpec, version: int | None) -> set[str]:
    return {key for key in release.read_part(spec, version).table.column("output").to_pylist() if key is not None}


def _first_version(release: Release, record: RunJson) -> Version:
    digest = hash_parts(release)
    created_at = record.finished_at or record.created_at
    return Version(1, "run", record.run_id, created_at, digest, tool_version=record.tool_version)
