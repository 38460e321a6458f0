"""Move the beginnings of shards, so that none divides a sample of several images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.shards import first_round

_FROM_FIRST_DOT = r"\.[^/]*$"


class WholeSamples:
    """Take the rows in order, and find those that continue the sample of the row before; see `SampleNames`."""

    def __init__(self) -> None:
        self._inner: dict[
            int, npt.NDArray[np.bool_]
        ] = {}  # first row of a table -> which of its rows continue a sample
        self._rows_count = 0
        self._last = ""

    def feed(self, table: pa.Table) -> None:
        """Take the next rows."""
        start, self._rows_count = self._rows_count, self._rows_count + len(table)
        if table.column("offset").null_count == len(table):
            self._last = ""
            return
        uri, stem = table.column("uri"), pc.replace_substring_regex(table.column("image_id"), _FROM_FIRST_DOT, "")
        in_tar = pc.and_(pc.is_valid(table.column("offset")), pc.ends_with(uri, ".tar", ignore_case=True))
        keys = pc.if_else(in_tar, pc.binary_join_element_wise(uri, stem, "\n"), "").combine_chunks()
        before = pa.concat_arrays([pa.array([self._last], keys.type), keys[:-1]])
        inner = pc.and_(pc.equal(keys, before), pc.not_equal(keys, "")).to_numpy(zero_copy_only=False)
        if inner.any():
            self._inner[start] = inner
        self._last = keys[-1].as_py()

    def starts(self, shard_rows: int, cuts: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """Return the first row of each shard, none if no sample has several images, and the rows of the largest one.

        Args:
            shard_rows: rows of a shard; one that ends with a sample may have more, up to twice as many.
            cuts: rows that begin a shard whatever they hold, ascending.
        """
        if not self._inner:
            return (), shard_rows
        inner = np.zeros(self._rows_count, np.bool_)
        for start, own in self._inner.items():
            inner[start : start + len(own)] = own
        inner[list(cuts)] = False
        firsts = np.flatnonzero(~inner)
        wanted = [spec.start for spec in first_round(self._rows_count, shard_rows, cuts)]
        moved = firsts[np.searchsorted(firsts, wanted, "right") - 1]
        # Because names such as `clip.000017.jpg` make one sample of a whole tar, divide what fills a shard by itself.
        starts = np.unique(np.where(np.subtract(wanted, moved) < shard_rows, moved, wanted))
        return tuple(starts.tolist()), int(np.diff(np.append(starts, self._rows_count)).max())
