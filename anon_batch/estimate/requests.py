"""Scales the requests that a sample needed to the whole job.

A call that was counted once for each row, shard or chunk of the sample is multiplied by the job's number of rows, shards or
chunks. The result holds for an undisturbed run with manifest, sources, OUTPUT and LEDGER on S3. Retries, lost attempts, resumes
and downloads of models come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from anon_batch.config import JobConfig
from anon_batch.estimate.counting import LIST_PAGE_KEYS, Kind, Unit, puts_of
from anon_batch.estimate.measure import Measurement
from anon_batch.manifest.chunks import CHUNK_ROWS
from anon_batch.shards import first_round

Layout = Literal["files", "webdataset", "parquet"]
LAYOUTS: tuple[Layout, ...] = ("files", "webdataset", "parquet")
_TAR_ROW_BYTES = 2304  # two headers, the block of the JSON, half a block of padding on average
_OUTPUT_FILES = 3  # run.json, stats.json, gates.json
_LEDGER_FILES = 2  # plan and run key


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by kind, and the number of objects at the end.

    Args:
        put, list, get, head: requests.
        output_objects, ledger_objects: objects in OUTPUT and LEDGER.
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
        """Requests at the price of a PUT."""
        return self.put + self.list

    @property
    def get_class(self) -> int:
        """Requests at the price of a GET."""
        return self.get + self.head


def scale_requests(
    found: Measurement, config: JobConfig, name: Layout, list_page_keys: int = LIST_PAGE_KEYS
) -> Requests:
    """Scale the sample's requests to the whole job.

    Args:
        found: the sample.
        config: the job.
        name: a layout; its outputs are computed where it is not the job's own.
        list_page_keys: keys in the response to one LIST.
    """
    shard_rows, total = config.engine.shard_rows, found.total_rows
    shards, chunks = sum(1 for _ in first_round(total, shard_rows)), math.ceil(total / CHUNK_ROWS)
    if found.source_shards is not None:
        shards, shard_rows = found.source_shards, math.ceil(total / found.source_shards)
    factors: Mapping[Unit, float] = {
        "row": total / found.rows,
        "shard": shards / found.shards,
        "chunk": chunks / math.ceil(found.rows / CHUNK_ROWS),
        "run": 1.0,
        "output": 0.0,  # computed below for each layout
    }
    scaled: dict[Kind, float] = {"put": 0.0, "list": 0.0, "get": 0.0, "head": 0.0}
    for (unit, kind), number in found.requests.items():
        scaled[kind] += number * factors[unit]
    for unit, keys in found.listed:
        scaled["list"] += max(1, math.ceil(keys * factors[unit] / list_page_keys))
    if found.faces is not None:  # which reads every source once more, and writes a part for each task
        for kind in ("get", "head"):
            scaled[kind] += found.requests.get(("row", kind), 0) * factors["row"]
        scaled["put"] += math.ceil(total / found.faces.task_rows)
        scaled["get"] += math.ceil(total / found.faces.task_rows)
    if name == "files":
        outputs = output_puts = round(found.published * factors["row"])
    else:
        file_bytes = stored_bytes(found, config, name) / found.rows * min(shard_rows, total)
        outputs, output_puts = shards, shards * puts_of(file_bytes)
    return Requests(
        round(scaled["put"]) + output_puts,
        round(scaled["list"]),
        round(scaled["get"]),
        round(scaled["head"]),
        outputs + shards + _OUTPUT_FILES,
        2 * shards + chunks + _LEDGER_FILES,
        shards,
    )


def stored_bytes(found: Measurement, config: JobConfig, name: Layout) -> int:
    """Return the bytes of the sample's outputs in a layout: measured in the job's own, computed in the others."""
    if name == config.write.layout:
        return found.output_bytes
    return found.stats.bytes_out + (_TAR_ROW_BYTES * found.published if name == "webdataset" else 0)
