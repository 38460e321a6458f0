"""Draw the rows of a release that are measured, by hashes of their ids: the same rows whatever the shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.errors import IntegrityError
from anon_batch.evaluate.release.tasks import Rows
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.manifest.sampling import sample_hashes
from anon_batch.records import ShardSpec
from anon_batch.shards import effective, gaps

_READERS = 16
_READ_AHEAD = 64  # parts
_ALL = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows that are measured.

    Args:
        shards: each shard with the offsets of its sampled rows, in row order.
        rows: number of sampled rows.
    """

    shards: tuple[tuple[ShardSpec, Rows], ...]
    rows: int


def draw_rows(release: Release, run: RunJson, *, limit: int | None, share: float | None, seed: int) -> Drawn:
    """Draw rows of a finished release.

    Args:
        release: holds the provenance.
        run: its run.json.
        limit: number of rows; those with the smallest hashes.
        share: probability of each row, above 0 and up to 1, instead of `limit`; both None draw all rows.
        seed: of the hashes.

    Raises:
        IntegrityError: a part is damaged, missing, or of another run.
    """
    specs = effective(release.parts())
    if missing := gaps(run.rows, specs):
        first = missing[0]
        raise IntegrityError(
            f"{release.uri}: rows {first.start} to {first.stop - 1} have no provenance; `anon-batch verify` says more"
        )
    cut = _ALL if share is None else max(0, min(_ALL, round(share * 2**64) - 1))
    kept: list[tuple[ShardSpec, npt.NDArray[np.int64], npt.NDArray[np.uint64]]] = []
    held = 0
    for spec, hashes in _hashes(release, run, specs, seed):
        at = np.flatnonzero(hashes <= np.uint64(cut))
        kept.append((spec, at, hashes[at]))
        held += len(at)
        if limit is not None and held > 2 * limit + _READ_AHEAD:  # so that memory depends on the sample alone
            cut, kept = _cut(kept, limit)
            held = sum(len(at) for _, at, _ in kept)
    if limit is not None and held > limit:
        _, kept = _cut(kept, limit)
    shards = tuple((spec, tuple(at.tolist())) for spec, at, _ in kept if len(at))
    return Drawn(shards, sum(len(offsets) for _, offsets in shards))


def _cut(
    kept: Sequence[tuple[ShardSpec, npt.NDArray[np.int64], npt.NDArray[np.uint64]]], limit: int
) -> tuple[int, list[tuple[ShardSpec, npt.NDArray[np.int64], npt.NDArray[np.uint64]]]]:
    """Return the largest hash among the `limit` smallest ones, and what is kept with it."""
    every = np.concatenate([hashes for _, _, hashes in kept])
    cut = int(np.partition(every, limit - 1)[limit - 1])
    chosen = [(spec, at[own <= np.uint64(cut)], own[own <= np.uint64(cut)]) for spec, at, own in kept]
    return cut, [(spec, at, own) for spec, at, own in chosen if len(at)]


def _hashes(
    release: Release, run: RunJson, specs: Sequence[ShardSpec], seed: int
) -> Iterator[tuple[ShardSpec, npt.NDArray[np.uint64]]]:
    def read(spec: ShardSpec) -> npt.NDArray[np.uint64]:
        part = release.read_part(spec)
        key = release.part_key(spec)
        if part.meta.run_id != run.run_id or part.meta.shard != spec.name or len(part.table) != spec.count:
            raise IntegrityError(f"{key}: not the part of this release; `anon-batch verify` says more")
        return sample_hashes(part.table.column("image_id").to_pylist(), seed)

    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(specs), _READ_AHEAD):
            batch = specs[start : start + _READ_AHEAD]
            yield from zip(batch, pool.map(read, batch), strict=True)
