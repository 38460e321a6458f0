"""Make a ledger forget erased rows: the rows of its plan, their faces, verdicts of reviews, and what a patch has left there.

Its audit parts are rewritten with the provenance. All of this can be repeated, so it may be interrupted anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonStore
from anon_batch.formats.plan import Plan
from anon_batch.formats.tombstone import erased_id
from anon_batch.formats.verdicts_json import Verdicts
from anon_batch.manifest.chunks import CHUNK_ROWS, chunk_to_parquet, read_chunk
from anon_batch.pipeline.identify.job import discard
from anon_batch.pipeline.versions.rewrite import replace_rows


def forget(ledger: Ledger, plan: Plan, numbers: Iterable[int]) -> None:
    """Forget rows.

    Args:
        ledger: the private files.
        plan: of the run.
        numbers: of the rows, in the whole release.

    Raises:
        ConfigError: another version of this package wrote a file with verdicts.
        IntegrityError: the ledger is damaged.
    """
    by_chunk: dict[int, list[int]] = {}
    for number in sorted(numbers):
        by_chunk.setdefault(number // CHUNK_ROWS * CHUNK_ROWS, []).append(number)
    for start, own in by_chunk.items():
        table = read_chunk(ledger, plan.rows_id, plan.total, start)
        ids = table.column("image_id").take([number - start for number in own]).to_pylist()
        if ids == [erased_id(number) for number in own]:
            continue
        _forget_verdicts(ledger, set(ids))  # before the rows, which alone know the ids
        gone = {number: {"image_id": erased_id(number), "uri": ""} for number in own}
        chunk = chunk_to_parquet(replace_rows(table, start, gone))
        ledger.put_rows(plan.rows_id, start, len(table), chunk)
    PersonStore(ledger).forget(set(chain.from_iterable(by_chunk.values())))
    discard(ledger)  # because features that are kept cannot be separated by their rows
    ledger.delete([f"{layout.LEDGER_PATCH}/{info.key}" for info in ledger.objects(layout.LEDGER_PATCH)])


def read_verdicts(ledger: Ledger) -> Iterator[tuple[str, Verdicts]]:
    """Yield the key and the content of every file with verdicts; raise as `forget`."""
    for info in ledger.objects(layout.LEDGER_REVIEW):
        key = f"{layout.LEDGER_REVIEW}/{info.key}"
        if info.key.endswith(".json"):
            yield key, Verdicts.from_json(ledger.storage.read(ledger.address(key)), ledger.address(key))


def _forget_verdicts(ledger: Ledger, ids: Collection[str]) -> None:
    for key, content in read_verdicts(ledger):
        left = tuple(own for own in content.verdicts if own.image_id not in ids)
        if len(left) != len(content.verdicts):
            ledger.storage.put(ledger.address(key), dataclasses.replace(content, verdicts=left).to_json())
