"""How many images each split of a release has, and which shard files are its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from anon_batch.formats.part import PartMeta
from anon_batch.formats.release import Release
from anon_batch.formats.splits import Split
from anon_batch.records import ShardSpec
from anon_batch.shards import effective
from anon_batch.stats import ShardStats

_DIGITS = 10  # of the first row in the name of a shard


@dataclass(frozen=True, slots=True)
class SplitImages:
    """What the splits of a release hold.

    Args:
        counts: split -> images.
        are_apart: whether no shard holds rows of two splits.
    """

    counts: Counter[str] = field(default_factory=Counter)
    are_apart: bool = True


def count_split_images(release: Release, splits: Sequence[Split]) -> SplitImages:
    """Count the images of each split; read whole parts only where shards hold rows of two splits.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    counts: Counter[str] = Counter()
    mixed: list[ShardSpec] = []
    if splits:
        for spec, meta in release.read_metas(effective(release.parts())):
            own = [split for split in splits if split.start < spec.stop and spec.start < split.stop]
            if len(own) == 1:
                counts[own[0].name] += _images(meta)
            else:
                mixed.append(spec)
    for spec in mixed:
        outputs = release.read_part(spec).table.column("output").to_pylist()
        for row, output in enumerate(outputs, spec.start):
            counts[next(split.name for split in splits if split.start <= row < split.stop)] += output is not None
    return SplitImages(+counts, not mixed)


def _images(meta: PartMeta) -> int:
    statuses = ShardStats.from_json(meta.stats).statuses
    return int(statuses.get("anonymized", 0) + statuses.get("clean", 0))


def shard_patterns(start: int, stop: int) -> list[str]:
    """Return patterns of the beginnings of names of shards whose first row is from `start` to before `stop`.

    Because a name begins with ten digits, each pattern is some of them and at most one range: `0000012*`, `000001[3-9]*`.
    """
    patterns: list[str] = []
    at = start
    while at < stop:
        size = 1
        while at % (size * 10) == 0 and at + size * 10 <= stop and size < 10 ** (_DIGITS - 1):
            size *= 10
        many = min(9 - at // size % 10, (stop - at) // size - 1)  # further values of this digit
        prefix = f"{at:0{_DIGITS}d}"[: _DIGITS - len(str(size)) + 1]
        low = int(prefix[-1])
        patterns.append(f"{prefix[:-1]}{low if not many else f'[{low}-{low + many}]'}*")
        at += size * (many + 1)
    return patterns
