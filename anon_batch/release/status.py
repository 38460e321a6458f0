"""Progress of a run, read from storage alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from anon_batch.formats.release import Release
from anon_batch.records import ShardSpec
from anon_batch.shards import effective
from anon_batch.stats import ShardStats

_RECENT_COMMITS = 64


@dataclass(frozen=True, slots=True)
class Status:
    """State of a run.

    Args:
        name, run_id, created_at, state: from run.json; state is `running` or `finished`.
        total, done: rows.
        shards_count: commits that count.
        statuses: status -> rows.
        images_per_s: throughput of the latest commits; None if there are too few.
        left_s: seconds left at that throughput.
        last_commit_at: UTC, ISO 8601.
    """

    name: str
    run_id: str
    created_at: str
    state: str
    total: int
    done: int
    shards_count: int
    statuses: dict[str, int]
    images_per_s: float | None
    left_s: float | None
    last_commit_at: str | None


class StatusReader:
    """Reads the state of a run again and again, and the footer of each part once.

    Args:
        release: of the run.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self._parts: dict[ShardSpec, tuple[dict[str, int], datetime]] = {}

    def read(self) -> Status:
        """Read run.json and the footers of the parts that are new; raise as `read_status`."""
        record = self._release.read_run_json()
        specs = effective(self._release.parts())
        for spec, meta in self._release.read_metas([spec for spec in specs if spec not in self._parts]):
            counted = dict(ShardStats.from_json(meta.stats).statuses)
            self._parts[spec] = (counted, datetime.fromisoformat(meta.finished_at))
        statuses: Counter[str] = Counter()
        for spec in specs:
            statuses.update(self._parts[spec][0])
        times = sorted((self._parts[spec][1], spec.count) for spec in specs)
        done = sum(spec.count for spec in specs)
        rate = _rate(times[-_RECENT_COMMITS:])
        return Status(
            record.name,
            record.run_id,
            record.created_at,
            record.state,
            record.rows,
            done,
            len(specs),
            dict(statuses),
            rate,
            (record.rows - done) / rate if rate else None,
            times[-1][0].isoformat() if times else None,
        )


def read_status(release: Release) -> Status:
    """Read run.json and the footers of all parts.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json or a part is damaged.
    """
    return StatusReader(release).read()


def _rate(times: list[tuple[datetime, int]]) -> float | None:
    if len(times) < 2:
        return None
    seconds = (times[-1][0] - times[0][0]).total_seconds()
    rows = sum(count for _, count in times[1:])
    return rows / seconds if seconds > 0 else None
