"""Erase rows of a finished release: make a version without them, then make the ledger forget them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from anon_batch.errors import ConfigError, IntegrityError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import Plan
from anon_batch.formats.release import Release
from anon_batch.formats.version_json import Tombstone, Version
from anon_batch.formats.version_plan import VersionPlan
from anon_batch.pipeline.versions.begin import begin_version, check_finished
from anon_batch.pipeline.versions.finish import finish_version, publish_version
from anon_batch.pipeline.versions.rewrite import rewrite_part
from anon_batch.records import ShardSpec
from anon_batch.release.erase.forget import forget, read_verdicts
from anon_batch.release.erase.request import EraseRequest, FoundRows, find_rows
from anon_batch.release.erase.tombstones import erased_rows, tombstones_of
from anon_batch.shards import effective, holds_any

KIND: Final = "erase"
_ASKED = "asked"


class Eraser:
    """Erases rows of one finished release.

    Args:
        release: the public files.
        ledger: the private files.

    Raises:
        ConfigError: there is no release or no ledger, or the run is not finished.
        ResumeRefusedError: the ledger is of another run, or a version of another kind is in the making.
        IntegrityError: release or ledger is damaged.
    """

    def __init__(self, release: Release, ledger: Ledger) -> None:
        self.release, self._ledger = release, ledger
        self._run_id = check_finished(release, ledger).run_id
        begun = ledger.version_in_the_making()
        if begun is not None and begun.kind != KIND:
            raise ResumeRefusedError(
                f"{release.uri}: `anon-batch {begun.kind}` has begun version {begun.number} and did not end. Run that command "
                "again to finish it, then this one"
            )

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        plan = self._ledger.plan()
        if plan is None:
            raise IntegrityError(f"{self._ledger.uri}: no {layout.LEDGER_PLAN}")
        return plan

    def find(self, request: EraseRequest) -> FoundRows:
        """Return the rows that a request names; raise as `find_rows`."""
        return find_rows(self._ledger, self.plan, request)

    def erased_by(self, request: EraseRequest) -> Version | None:
        """Return the version that the same request made; None if there is none."""
        digest = request.digest(self._run_id)
        for plan in self._ledger.version_plans():
            if plan.kind == KIND and plan.request.get(_ASKED) == digest and plan.number <= len(self.release.versions):
                return self.release.versions[plan.number - 1]
        return None

    def check(self, found: FoundRows) -> int:
        """Check that these rows can be erased; return how many images will be left. Nothing is written.

        Raises:
            ConfigError: no image would be left, or another version of this package wrote a file with verdicts.
            IntegrityError: release or ledger is damaged.
        """
        for _ in read_verdicts(self._ledger):
            pass  # because a file that cannot be read could not be cleaned either
        numbers = {row.number for row in found.rows}
        gone = sum(bool(own.digest) for spec in self._shards(numbers) for own in self._tombstones(spec, numbers))
        statuses = self.release.read_stats().statuses
        left = statuses.get("anonymized", 0) + statuses.get("clean", 0) - gone
        if left <= 0:
            raise ConfigError(
                f"no image would be left, so there is nothing to publish: delete {self.release.uri} with all of its copies, and "
                f"destroy its ledger, after `anon-batch keys destroy ledger {self.release.uri}`"
            )
        return left

    def erase(self, request: EraseRequest, found: FoundRows) -> Version:
        """Make the version without these rows; the same request goes on where it was interrupted. `check` them before.

        Raises:
            ResumeRefusedError: another request has begun a version.
            IntegrityError: release or ledger is damaged.
            StorageError: storage fails or refuses; the same request goes on later.
        """
        numbers = {row.number for row in found.rows}
        asked = {"rows": sorted(numbers), _ASKED: request.digest(self._run_id)}
        new = begin_version(self.release, self._ledger, KIND, asked)
        shards = self._shards(numbers)
        tombstones: list[Tombstone] = []
        for spec in shards:
            tombstones += self._tombstones(spec, numbers)
            rewrite_part(new, spec, erased_rows(self.release.read_part(spec), spec, numbers))
        version = publish_version(new, shards, tombstones=tombstones, changes={"erased": len(numbers)})
        self.finish()
        return version

    def finish(self) -> None:
        """End an erasure whose version is published, because it may have been interrupted then."""
        finish_version(self.release, self._ledger, self._forget)

    def _forget(self, plan: VersionPlan) -> None:
        tombstones = self.release.versions[plan.number - 1].tombstones
        forget(self._ledger, self.plan, (own.row for own in tombstones))

    def _shards(self, numbers: set[int]) -> Sequence[ShardSpec]:
        ordered = sorted(numbers)
        return [spec for spec in effective(self.release.parts()) if holds_any(spec, ordered)]

    def _tombstones(self, spec: ShardSpec, numbers: set[int]) -> list[Tombstone]:
        return tombstones_of(self.release.read_part(spec), spec, numbers)
