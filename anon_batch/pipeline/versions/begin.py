"""Begin a version: check that the release is finished, and claim the next number for one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import LEDGER
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.version_plan import VersionPlan
from anon_batch.shards import effective, gaps


class NewVersion(NamedTuple):
    """A version in the making.

    Args:
        release: the public files, at the version before.
        ledger: the private files.
        run: run.json.
        plan: number, request, token.
    """

    release: Release
    ledger: Ledger
    run: RunJson
    plan: VersionPlan

    @property
    def attempt(self) -> str:
        """What the names of this version's audit parts and shard files hold in place of an attempt's name."""
        return layout.version_attempt(self.plan.number, self.plan.token)


def begin_version(
    release: Release, ledger: Ledger, kind: Literal["patch", "erase", "c2pa"], request: Mapping[str, Any]
) -> NewVersion:
    """Begin the next version of a finished release, or go on with it if the same request began it.

    Call `finish_version` before: a version that was published and not finished must be finished first.

    Args:
        release: the public files.
        ledger: the private files.
        kind: what makes the version.
        request: JSON values that identify what is asked. Nothing that is to be erased.

    Raises:
        ConfigError: there is no release, or it is not finished.
        ResumeRefusedError: the ledger is of another run, or another request has begun a version.
        IntegrityError: release or ledger is damaged.
    """
    record = check_finished(release, ledger)
    number = release.version + 1
    plan = VersionPlan(number, kind, request, release.read_stats().sha256)
    begun = ledger.version_in_the_making()
    if begun is not None and release.versions and begun.number == release.version:
        raise ResumeRefusedError(
            f"{release.uri}: `anon-batch {begun.kind}` has published version {begun.number} and did not end. Run that command "
            "again to finish it, then this one"
        )
    plan = ledger.publish_version_plan(plan) if begun is None else begun
    if plan.number != number:
        raise IntegrityError(
            f"{ledger.uri}: version {plan.number} is in the making, but the release is at version {release.version}; restore "
            "the one from the same time as the other"
        )
    if (plan.kind, dict(plan.request)) != (kind, dict(request)):
        raise ResumeRefusedError(
            f"{release.uri}: another `anon-batch {plan.kind}` has begun version {number} and did not end. Run that command "
            "again to finish it, then this one"
        )
    if any(SealStore(ledger, kind).rotation() is not None for kind in layout.ENCRYPTED):
        raise ResumeRefusedError(
            f"{ledger.uri}: the recipients of what it keeps encrypted are being changed. Run that `anon-batch keys rotate` again "
            "to finish it, then this command"
        )
    return NewVersion(release, ledger, record, plan)


def check_finished(release: Release, ledger: Ledger) -> RunJson:
    """Return run.json of a finished release whose ledger this is; raise as `begin_version`."""
    record = release.read_run_json()
    if not record.is_finished:
        raise ConfigError(
            f"{release.uri}: this run is not finished; run the same job again to resume it, then make a new version"
        )
    plan = ledger.plan()
    if plan is None and (gone := release.read_destroyed(record.run_id).find(LEDGER)) is not None:
        raise ConfigError(
            f"{release.uri}: its ledger was destroyed ({gone.destroyed_at}), so it can get no new version"
        )
    if plan is None:
        raise ConfigError(f"{ledger.uri}: no ledger here (no {layout.LEDGER_PLAN}); name the ledger of {release.uri}")
    if plan.run_id != record.run_id:
        raise ResumeRefusedError(
            f"ledger {ledger.uri} is of run {plan.run_id}, the release is of {record.run_id}; name the right one"
        )
    if missing := gaps(plan.total, effective(release.parts())):
        raise IntegrityError(
            f"rows {missing[0].start} to {missing[0].stop - 1} have no part; `anon-batch verify` says more"
        )
    return record
