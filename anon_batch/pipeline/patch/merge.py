"""Put the rows that a staged run has done again into the parts of a release that hold them."""

from __future__ import annotations

import bisect
import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.sealed import SealedShard
from anon_batch.formats.touched_rows import TouchedRow
from anon_batch.pipeline.patch.entries import ShardEntries
from anon_batch.pipeline.patch.job import PatchJob
from anon_batch.pipeline.patch.staging import StagedRun
from anon_batch.pipeline.versions.begin import NewVersion
from anon_batch.pipeline.versions.rewrite import NewRow, rewrite_part
from anon_batch.records import EncodedImage, ManifestRow, ShardSpec
from anon_batch.shards import effective, gaps

_WRITERS = 4  # shards in memory at a time
_KEPT_SHARDS = 2 * _WRITERS  # parts of the staged run
_COMPARED = ("status", "reason", "sha256", "regions")


@dataclass(frozen=True, slots=True)
class Changed:
    """The rows that came out differently.

    Args:
        rows: shard of the release -> its rows as (number in the release, position in the staged run), rising.
        statuses: their new status -> number of rows.
        whys: why they were done again -> number of rows.
        same: rows that came out as they were.
    """

    rows: Mapping[ShardSpec, Sequence[tuple[int, int]]] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    whys: Mapping[str, int] = field(default_factory=dict)
    same: int = 0

    @property
    def count(self) -> int:
        """Number of changed rows."""
        return sum(map(len, self.rows.values()))


class _Shard(NamedTuple):
    spec: ShardSpec
    public: pa.Table
    audit: pa.Table
    sealed: Mapping[layout.Kind, SealedShard]


class StagedRows:
    """The finished rows of a staged run, by their position. Keeps the parts that were read last; threads may share it.

    Args:
        run: the staged run, whose rows all have a commit.

    Raises:
        IntegrityError: rows are missing.
    """

    def __init__(self, run: StagedRun) -> None:
        self._run = run
        self._specs = effective(run.release.parts())
        if missing := gaps(run.plan.total, self._specs):
            raise IntegrityError(f"rows {missing[0].start} to {missing[0].stop - 1} of the patch have no commit")
        self._lock = threading.Lock()
        self._kept: OrderedDict[ShardSpec, _Shard] = OrderedDict()

    def public(self) -> Iterator[Mapping[str, Any]]:
        """Yield the public rows in order, without the pass-through columns."""
        for spec in self._specs:
            yield from self._run.release.read_part(spec).table.select(["image_id", *_COMPARED]).to_pylist()

    def new_row(self, position: int, entries: ShardEntries, row: ManifestRow) -> NewRow:
        """Return a row as it goes into the release.

        Args:
            position: in the staged run.
            entries: of the shard of the release that holds it.
            row: of the manifest.

        Raises:
            IntegrityError: an image of the staged run is damaged.
        """
        shard = self._shard(position)
        at = position - shard.spec.start
        public, audit = shard.public.slice(at, 1).to_pylist()[0], shard.audit.slice(at, 1).to_pylist()[0]
        if public["output"] is None:
            return NewRow(public, audit, sealed={})
        data = self._run.release.read(public["output"])
        if hashlib.sha256(data).hexdigest() != public["sha256"]:
            raise IntegrityError(
                f"{self._run.release.address(public['output'])}: damaged, its digest is not the one in its part"
            )
        image = EncodedImage(data, public["format"], public["width"], public["height"], public["synthetic"])
        sealed = {kind: own.only([public["image_id"]]) for kind, own in shard.sealed.items()}
        return NewRow(public, audit, *entries.entry(row, image), sealed=sealed)

    def _shard(self, position: int) -> _Shard:
        with self._lock:  # while it is read too, so that no part is read twice
            spec = self._specs[bisect.bisect_right(self._specs, position, key=lambda own: own.start) - 1]
            if spec not in self._kept:
                part = self._run.release.read_part(spec)
                attempt, ledger = part.meta.attempt, self._run.ledger
                run_id = self._run.plan.run_id
                sealed = {kind: SealStore(ledger, kind).read(spec, attempt, run_id) for kind in self._run.kept}
                self._kept[spec] = _Shard(spec, part.table, ledger.read_audit(spec, attempt), sealed)
                if len(self._kept) > _KEPT_SHARDS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(spec)
            return self._kept[spec]


def compare_rows(release: Release, staged: StagedRows, touched: Sequence[TouchedRow]) -> Changed:
    """Return which of the rows that were done again differ from the release.

    Args:
        release: at the version before.
        staged: the rows done again.
        touched: the same rows, in order.

    Raises:
        IntegrityError: release or staged run is damaged, or they hold different images.
    """
    rows: dict[ShardSpec, list[tuple[int, int]]] = {}
    statuses, whys = Counter[str](), Counter[str]()
    shards = iter(effective(release.parts()))
    spec, before = ShardSpec(0, 1), list[Mapping[str, Any]]()
    for position, (own, after) in enumerate(zip(touched, staged.public(), strict=True)):
        while not before or own.number >= spec.stop:
            if own.number < (spec := next(shards)).stop:
                before = release.read_part(spec).table.select(["image_id", *_COMPARED]).to_pylist()
        old = before[own.number - spec.start]
        if old["image_id"] != after["image_id"]:
            raise IntegrityError(
                f"row {own.number}: {old['image_id']!r} in the release, {after['image_id']!r} in its ledger"
            )
        if old != after:
            rows.setdefault(spec, []).append((own.number, position))
            statuses[after["status"]] += 1
            whys[own.why] += 1
    return Changed(rows, dict(sorted(statuses.items())), dict(sorted(whys.items())), len(touched) - whys.total())


def merge_rows(
    new: NewVersion, job: PatchJob, staged: StagedRows, changed: Changed, done: Callable[[int], None]
) -> None:
    """Rewrite the parts that hold changed rows; those that were written before are left as they are.

    Args:
        new: the version in the making.
        job: what the patch does.
        staged: the rows done again.
        changed: what `compare_rows` returned.
        done: called with the number of changed rows of each finished part.

    Raises:
        IntegrityError: release, ledger or staged run is damaged.
        StorageError: something cannot be read or written.
    """
    planned, lock = job.planned_rows(), threading.Lock()

    def rewrite(spec: ShardSpec) -> int:
        own = changed.rows[spec]
        if not new.release.storage.exists(new.release.address(layout.provenance_part(spec.name, new.plan.number))):
            with lock:
                rows = planned.read(spec)
            members = new.release.read_part(spec).table.column("member").to_pylist()
            entries = ShardEntries(job.config.write, rows, members, planned.extra_schema)
            done_again = {
                number: staged.new_row(position, entries, rows[number - spec.start]) for number, position in own
            }
            rewrite_part(new, spec, done_again)
        return len(own)

    with ThreadPoolExecutor(_WRITERS) as pool:
        for count in pool.map(rewrite, changed.rows):
            done(count)
