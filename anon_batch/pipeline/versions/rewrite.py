"""Rewrite the part of a shard for a new version: some rows are replaced, all others are copied as they are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import IntegrityError, ObjectExistsError
from anon_batch.formats import layout
from anon_batch.formats.audit import OUTLINES, with_outlines
from anon_batch.formats.part import PartMeta, to_parquet
from anon_batch.formats.release import Part
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.sealed import SealedShard
from anon_batch.formats.shard_contents import Entry, read_entries, write_entries
from anon_batch.pipeline.versions.begin import NewVersion
from anon_batch.records import ShardSpec
from anon_batch.stats import ShardStats, merge_all


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NewRow:
    """What a row is from the new version on.

    Args:
        provenance: column -> value of the public row; those that are left out are null. `output` and `member` are set here.
        audit: column -> value of the private row, `stats` included.
        name: of the output: a path below `images/` without the version, or the name inside the shard file; None for a row
            without an output.
        content: the image file in the layout `files`, the entry of the shard file in the others; None without an output.
        sealed: what is kept of it encrypted, by kind; None keeps what there is, because its regions stay as they are.
    """

    provenance: Mapping[str, Any]
    audit: Mapping[str, Any]
    name: str | None = None
    content: bytes | Entry | None = None
    sealed: Mapping[layout.Kind, SealedShard] | None = None


def rewrite_part(new: NewVersion, spec: ShardSpec, rows: Mapping[int, NewRow]) -> bool:
    """Write what a shard is from the new version on: images, audit part, and at the end its part of the provenance.

    Args:
        new: the version in the making.
        spec: the shard, one that has a part in the version before.
        rows: number of a row in the whole release -> what it becomes.

    Returns:
        False if the part was written before, by an earlier call that was killed later or by another process.

    Raises:
        IntegrityError: release or ledger is damaged.
        ValueError: a row outside the shard.
    """
    if outside := [number for number in rows if not spec.start <= number < spec.stop]:
        raise ValueError(f"rows {outside} lie outside shard {spec.name}")
    if new.release.storage.exists(new.release.address(layout.provenance_part(spec.name, new.plan.number))):
        return False
    old = new.release.read_part(spec)
    files = new.run.layout == "files"
    key, shard_sha256 = ("", "") if files else _write_shard_file(new, spec, old, rows)
    public = {number: _put_image(new, row) if files else _inside(row) for number, row in rows.items()}
    _rewrite_sealed(new, spec, old, rows)
    private = new.ledger.read_audit(spec, old.meta.attempt)
    if any(OUTLINES.name in row.audit for row in rows.values()):
        private = with_outlines(private)
    audit = replace_rows(private, spec.start, {n: row.audit for n, row in rows.items()})
    stats = _count_again(audit, ShardStats.from_json(old.meta.stats))
    meta = PartMeta(spec.name, new.attempt, new.run.run_id, old.meta.finished_at, stats.to_json(), shard_sha256)
    new.ledger.put_audit(spec, new.attempt, _to_parquet(audit, meta))
    table = replace_rows(old.table, spec.start, public)
    if not files:  # because every row names the shard file, those that were kept name the new one
        output = pc.if_else(pc.is_valid(table.column("member")), pa.scalar(key), pa.scalar(None, pa.string()))
        table = table.set_column(table.column_names.index("output"), table.field("output"), output)
    meta = dataclasses.replace(meta, stats=stats.public().to_json())
    return new.release.commit_part(spec, _to_parquet(table, meta), new.plan.number)


def _rewrite_sealed(new: NewVersion, spec: ShardSpec, old: Part, rows: Mapping[int, NewRow]) -> None:
    """Write what is kept encrypted of a shard from the new version on: ciphertexts of rows that stay are copied unread."""
    image_ids = old.table.column("image_id").to_pylist()
    replaced = [image_ids[number - spec.start] for number, row in rows.items() if row.sealed is not None]
    for kind in (kind for kind in layout.ENCRYPTED if kind in new.run.config):
        store = SealStore(new.ledger, kind)
        sealed = store.read(spec, old.meta.attempt, new.run.run_id).without(replaced)
        for row in rows.values():
            if row.sealed is not None and kind in row.sealed:
                sealed = sealed.with_(row.sealed[kind])
        if sealed.records:
            store.put(spec, new.attempt, sealed)


def _count_again(audit: pa.Table, old: ShardStats) -> ShardStats:
    """Return the statistics of all rows of a part, with the times that the run took for it."""
    counted = merge_all(ShardStats.from_json(text) for text in audit.column("stats").to_pylist())
    times = ("stage_us", "stage_cpu_us", "worker_us", "process_cpu_us")
    return dataclasses.replace(counted, **{name: getattr(old, name) for name in times})


def _write_shard_file(new: NewVersion, spec: ShardSpec, old: Part, rows: Mapping[int, NewRow]) -> tuple[str, str]:
    """Write the new tar or Parquet file in row order; return its key and its digest, an empty one if no image is left."""
    key = layout.shard_file(spec.name, new.attempt, new.run.layout)
    members: list[str | None] = old.table.column("member").to_pylist()
    had = (
        _read_entries(new, layout.shard_file(spec.name, old.meta.attempt, new.run.layout), old) if any(members) else {}
    )
    entries: list[Entry] = []
    for number, member in enumerate(members, spec.start):
        row = rows.get(number)
        entry = had.get(member or "") if row is None else row.content
        if entry is not None and not isinstance(entry, bytes):
            entries.append(entry)
    if not entries:
        return key, ""
    data = write_entries(entries, key)
    new.release.put(key, data)
    return key, hashlib.sha256(data).hexdigest()


def _read_entries(new: NewVersion, key: str, old: Part) -> Mapping[str, Entry]:
    data = new.release.read(key)
    if hashlib.sha256(data).hexdigest() != old.meta.shard_sha256:
        raise IntegrityError(f"{new.release.address(key)}: damaged, its digest is not the one in its part")
    return read_entries(data, key)


def _inside(row: NewRow) -> Mapping[str, Any]:
    return {**row.provenance, "member": None if row.content is None else row.name}


def _put_image(new: NewVersion, row: NewRow) -> Mapping[str, Any]:
    if row.name is None or not isinstance(row.content, bytes):
        return {**row.provenance, "output": None, "member": None}
    key = layout.image_key(layout.versioned(row.name, new.plan.number))
    try:
        new.release.storage.put_if_absent(new.release.address(key), row.content)
    except (
        ObjectExistsError
    ):  # because an id may look like the name of a later version, as `a.v2.jpg` does beside `a.jpg`
        key = layout.image_key(layout.versioned(row.name, new.plan.number, new.plan.token))
        new.release.put(key, row.content)
    return {**row.provenance, "output": key, "member": None}


def replace_rows(table: pa.Table, start: int, rows: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    """Return the table with the rows of these numbers replaced; a column that a new row leaves out is null.

    Args:
        table: rows, the first of them with the number `start`.
        start: number in the whole release.
        rows: number in the whole release -> column -> value.

    Raises:
        ValueError: a new row has a column that the table has not.
    """
    pieces: list[pa.Table] = []
    at = 0
    for number in sorted(rows):
        if unknown := sorted(set(rows[number]) - set(table.column_names)):
            raise ValueError(f"columns {unknown} are not in the part")
        row = {name: rows[number].get(name) for name in table.column_names}
        offset = number - start
        pieces += [table.slice(at, offset - at), pa.Table.from_pylist([row], table.schema)]
        at = offset + 1
    return pa.concat_tables([*pieces, table.slice(at)])


def _to_parquet(table: pa.Table, meta: PartMeta) -> bytes:
    columns: dict[str, Sequence[Any]] = {name: _combined(table.column(name)) for name in table.column_names}
    return to_parquet(columns, table.schema, meta)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined
