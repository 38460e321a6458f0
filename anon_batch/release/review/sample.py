"""Draw outputs of a release for people to look at: a random sample of each stratum.

Which outputs are drawn depends on their ids and the seed alone, never on the division into shards, so that the import of
verdicts draws the same sample again.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from anon_batch.errors import ConfigError
from anon_batch.formats.release import Release
from anon_batch.geometry import Extent
from anon_batch.shards import effective

_COLUMNS = ["image_id", "status", "output", "member", "sha256", "width", "height", "regions"]
_FEW_REGIONS = 4


class PublishedRegion(NamedTuple):
    """A region as the provenance publishes it; `extent` in px of the upright output, half-open."""

    extent: Extent
    label: str
    method: str
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Output:
    """A published image.

    Args:
        image_id: the release's id.
        key: of the object below OUTPUT.
        member: name inside it, if it is a tar or Parquet file.
        sha256: of the image file.
        width, height: px of the upright image.
        regions: that were anonymized.
        stratum: see `stratum_of`.
    """

    image_id: str
    key: str
    member: str | None
    sha256: str
    width: int
    height: int
    regions: tuple[PublishedRegion, ...]
    stratum: str


class Candidate(NamedTuple):
    """An output with its place in the random order of all outputs."""

    place: int
    output: Output


@dataclass(frozen=True, slots=True)
class Candidates:
    """The outputs that a sample may hold.

    Args:
        sizes: stratum -> outputs of the release.
        first: stratum -> the first of its outputs in the random order, at most as many as were asked for.
    """

    sizes: Mapping[str, int]
    first: Mapping[str, Sequence[Candidate]]


def stratum_of(status: str, labels: Sequence[str]) -> str:
    """Return e.g. `clean` or `anonymized, 2 to 4 regions: face`, for the labels of an output's regions."""
    if not labels:
        return status
    count = len(labels)
    regions = "1 region" if count == 1 else f"2 to {_FEW_REGIONS} regions" if count <= _FEW_REGIONS else "more regions"
    return f"{status}, {regions}: {' and '.join(sorted(set(labels)))}"


def read_candidates(release: Release, seed: int, most: int, progress: Callable[[int], None]) -> Candidates:
    """Read the provenance of a finished release.

    Args:
        release: to draw from.
        seed: of the random order.
        most: outputs of one stratum to keep.
        progress: receives the number of rows read so far.

    Raises:
        ConfigError: nothing was published.
        IntegrityError: a part is damaged.
    """
    sizes: dict[str, int] = {}
    heaps: dict[str, list[tuple[int, str, Output]]] = {}
    rows_count = 0
    for spec in effective(release.parts()):
        for row in release.read_part(spec).table.select(_COLUMNS).to_pylist():
            if row["output"] is None:
                continue
            stratum = stratum_of(row["status"], [region["label"] for region in row["regions"]])
            sizes[stratum] = sizes.get(stratum, 0) + 1
            heap = heaps.setdefault(stratum, [])
            place = -_place(seed, row["image_id"])  # negative, because the heap gives up its smallest
            if len(heap) < most:
                heapq.heappush(heap, (place, row["image_id"], _output(row, stratum)))
            elif place > heap[0][0]:
                heapq.heapreplace(heap, (place, row["image_id"], _output(row, stratum)))
        rows_count += spec.count
        progress(rows_count)
    if not sizes:
        raise ConfigError(f"{release.uri}: no image was published, so there is nothing to review")
    first = {
        name: [Candidate(-place, output) for place, _, output in sorted(heap, key=lambda own: (-own[0], own[1]))]
        for name, heap in heaps.items()
    }
    return Candidates(dict(sorted(sizes.items())), first)


def sample_digest(outputs: Iterable[Output]) -> str:
    """Return the SHA-256 of the ids and digests of outputs, in any order, so that verdicts count for these very files alone."""
    lines = sorted(f"{own.image_id}\0{own.sha256}\n" for own in outputs)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _place(seed: int, image_id: str) -> int:
    key = f"{seed}\0{image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, person=b"review").digest(), "big")


def _output(row: Mapping[str, Any], stratum: str) -> Output:
    regions = tuple(
        PublishedRegion((own["x1"], own["y1"], own["x2"], own["y2"]), own["label"], own["method"], own["synthetic"])
        for own in row["regions"]
    )
    place = (row["image_id"], row["output"], row["member"], row["sha256"], row["width"], row["height"])
    return Output(*place, regions, stratum)
