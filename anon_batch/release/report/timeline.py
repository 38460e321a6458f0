"""When the rows of a release were committed, from the metadata of its provenance parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from anon_batch.errors import IntegrityError
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.records import ShardSpec

MOST_BINS = 64
MOST_PARTS = 4096  # whose footers are read; of more, an even sample


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows committed in intervals of equal length.

    Args:
        interval_s: length of an interval.
        rows: rows committed in each interval, from the first start of the run.
        parts, of: shards that were read, of how many.
    """

    interval_s: float
    rows: tuple[float, ...]
    parts: int
    of: int


def read_timeline(release: Release, record: RunJson) -> Timeline | None:
    """Read when the shards were committed: one footer a shard, of at most 4,096 shards.

    With more shards an even sample is read, and its rows are scaled to all.

    Returns:
        None if there are fewer than two shards, or a part cannot be read, which `anon-batch verify` explains.
    """
    every = release.parts()
    sample = _evenly(every)
    began = datetime.fromisoformat(record.created_at)
    try:
        ends = [
            ((datetime.fromisoformat(meta.finished_at) - began).total_seconds(), spec.count)
            for spec, meta in release.read_metas(sample)
        ]
    except IntegrityError:
        return None
    if len(ends) < 2:
        return None
    last = max([1.0, *(end for end, _ in ends)])
    bins = max(1, min(MOST_BINS, len(ends) // 2, int(last)))  # because times have whole seconds
    factor = sum(spec.count for spec in every) / sum(count for _, count in ends)
    rows = [0.0] * bins
    for end, count in ends:
        rows[min(bins - 1, max(0, int(end / last * bins)))] += count * factor
    return Timeline(last / bins, tuple(rows), len(sample), len(every))


def _evenly(specs: list[ShardSpec]) -> list[ShardSpec]:
    if len(specs) <= MOST_PARTS:
        return specs
    return [specs[index * len(specs) // MOST_PARTS] for index in range(MOST_PARTS)]
