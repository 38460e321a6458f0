"""How many requests a job sends to an object store: arithmetic over the numbers of rows and shards, nothing measured.

It counts an undisturbed run in which manifest, sources, output and ledger all lie in S3, each source an object or a member of a
tar. Retries, lost attempts and resumes come on top; so does reading the manifest itself, a request a few MiB. A source that is a
cell of a Parquet file takes less than the one GET that is counted for it, as its neighbours come along.

    n rows, of which p are published; W workers, at most S; pages(k) = max(1, ceil(k / 1000)), as a LIST gives 1,000 keys
    S shards: plan.first_round(n, shard_rows), that is ceil(n / shard_rows) and some 30 small ones at the end
    C chunks of rows in the ledger: ceil(n / 8192)

    PUT   p pictures (`files`), or S shard files (more where one has 100 MiB or more and goes up in parts of 50)
          + 3 S: marker of the attempt, audit part, provenance part
          + C + 6: chunks of rows; plan, run key, run.json twice, stats.json, gates.json
    LIST  S: a provenance part that is not there yet is looked for twice, by HEAD and by LIST
          + S: the shard's own markers, of which there are none yet
          + 7 + 3 pages(S) + (1, or pages(S) for shard files) + pages(C): before, between and after the rounds
    GET   n sources
          + min(W C, W + S): each worker reads chunks of rows as it needs them
          + S: footers of the parts, for the final statistics
          + the parts of shards with rows that have no output (`files`), to remove what an earlier attempt may have put
          + 5: plan, run key, manifest
    HEAD  S before a shard is begun, S for the final statistics, 3 at the start

S3 charges PUT and LIST alike, GET and HEAD alike, and nothing for deletes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from anon_batch.manifest.chunks import CHUNK_ROWS
from anon_batch.records import ShardSpec
from anon_batch.shards import first_round

LIST_PAGE = 1000
MULTIPART_FROM_BYTES = 100 * 2**20  # s3fs: twice its part size
PART_BYTES = 50 * 2**20
_TAIL = 8  # shards that are counted one by one, so that the small ones at the end are

Layout = Literal["files", "webdataset", "parquet"]
LAYOUTS: tuple[Layout, ...] = ("files", "webdataset", "parquet")


@dataclass(frozen=True, slots=True)
class Workload:
    """What the number of requests depends on.

    Args:
        rows: of the plan; at least 1.
        published: rows that get an output.
        layout: `write.layout`.
        shard_rows: `engine.shard_rows`.
        workers: actors.
        lossy_shards: shards with at least one row that gets no output.
        shard_file_bytes: mean size of a tar or Parquet file.
        list_page: keys that one LIST gives.
    """

    rows: int
    published: int
    layout: Layout
    shard_rows: int
    workers: int = 1
    lossy_shards: int = 0
    shard_file_bytes: float = 0.0
    list_page: int = LIST_PAGE


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by kind, and the objects that are there in the end.

    Args:
        put, list, get, head: requests.
        output_objects, ledger_objects: below OUTPUT and below LEDGER.
        shards: of the first round.
    """

    put: int
    list: int
    get: int
    head: int
    output_objects: int
    ledger_objects: int
    shards: int

    @property
    def put_class(self) -> int:
        """What S3 charges as PUT."""
        return self.put + self.list

    @property
    def get_class(self) -> int:
        """What S3 charges as GET."""
        return self.get + self.head


def requests_of(work: Workload) -> Requests:
    """Requests of a whole run, by the formula at the head of this module.

    Args:
        work: rows, layout and so on.

    Returns:
        Exact for one worker; with several, the reads of row chunks are an upper bound.
    """
    shards, chunks = shards_count(work.rows, work.shard_rows), -(-work.rows // CHUNK_ROWS)
    in_files, workers = work.layout == "files", min(work.workers, shards)
    pictures = work.published if in_files else shards * _puts_of(work.shard_file_bytes)
    shard_pages = _pages(shards, work.list_page)
    begin_lists = 2 * shards
    # 7 LISTs at the start find nothing. Then the commits after the round and at the end, audit parts, shard files, rows.
    ends = 3 * shard_pages + (1 if in_files else shard_pages) + _pages(chunks, work.list_page)
    return Requests(
        put=pictures + 3 * shards + chunks + 6,
        list=7 + begin_lists + ends,
        get=work.rows + min(workers * chunks, workers + shards) + shards + 5 + (work.lossy_shards if in_files else 0),
        head=2 * shards + 3,
        output_objects=(work.published if in_files else shards) + shards + 3,
        ledger_objects=2 * shards + chunks + 2,
        shards=shards,
    )


def shards_count(rows: int, shard_rows: int) -> int:
    """Shards of the first round, without walking through all of them."""
    whole, tail = _whole_and_tail(rows, shard_rows)
    return whole + len(tail)


def expected_lossy_shards(rows: int, shard_rows: int, loss_share: float) -> int:
    """Shards in which a row without output is to be expected, when such rows come independently."""
    share = 1 - (1 - min(max(loss_share, 0.0), 1.0)) ** shard_rows
    return round(share * shards_count(rows, shard_rows))


def _whole_and_tail(rows: int, shard_rows: int) -> tuple[int, list[ShardSpec]]:
    """Shards of `shard_rows` that need no look each, and the last ones."""
    whole = max(0, rows // shard_rows - _TAIL)
    return whole, list(first_round(rows - whole * shard_rows, shard_rows))


def _puts_of(size_bytes: float) -> int:
    return 1 if size_bytes < MULTIPART_FROM_BYTES else 2 + math.ceil(size_bytes / PART_BYTES)


def _pages(keys: int, page: int) -> int:
    return max(1, -(-keys // page))
