"""Refuse a manifest whose boxes are in another scale, before the first image is processed.

One such row is withheld when it is processed. Many of them mean that the whole manifest is wrong, and that the rows which
look right by chance are wrong too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.config import JobConfig
from anon_batch.detect.given_boxes import GivenBoxes
from anon_batch.errors import ManifestError
from anon_batch.imaging.sniff import sniff
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.read import rows_from_table
from anon_batch.manifest.schema import FIXED_COLUMNS, REGIONS_COLUMN
from anon_batch.records import GroundTruth, ManifestRow
from anon_batch.storage import Storage

CHECKED_ROWS = 1_000
MAX_BAD_SHARE = 0.1
FEWEST_ROWS = 10  # below, a share says little, and each row is checked when it is processed
READ_ROWS = 100  # of the checked rows, whose images are read for their size
READ_BYTES = 32 * 2**20
FEWEST_CORNER_ROWS = 20
_READERS = 8
_SHOWN = 3

_Size = tuple[int, int] | None


class _Checked(NamedTuple):
    number: int
    truth: GroundTruth
    size: _Size
    fault: str | None


class BoxScale:
    """Look at the first rows of a manifest whose boxes decide what is published.

    Args:
        config: names manifest, detectors and limits.
        storage: reads the sources.

    Feed it every table in order, then call `finish` once.
    """

    def __init__(self, config: JobConfig, storage: Storage) -> None:
        self._config = config
        self._storage = storage
        self._where = config.manifest
        self._boxes = GivenBoxes.of_job(config.detect)
        self._rows: list[ManifestRow] = []
        self._seen_count = 0
        self._is_open = not config.detect.trust_boxes

    def feed(self, table: pa.Table) -> None:
        """Take the next rows, and check as soon as there are enough.

        Args:
            table: with the manifest's fixed columns, normalised.

        Raises:
            ManifestError: see `finish`.
        """
        start, self._seen_count = self._seen_count, self._seen_count + len(table)
        if not self._is_open:
            return
        fixed = table.select(FIXED_COLUMNS)
        counts = pc.fill_null(pc.list_value_length(fixed.column(REGIONS_COLUMN)), 0)
        for at in np.flatnonzero(counts.to_numpy()).tolist():
            [row] = rows_from_table(fixed.slice(at, 1), start + at)
            if row.regions is not None and self._boxes.mask(row.regions).any():
                self._rows.append(row)
            if len(self._rows) == CHECKED_ROWS:
                self.finish()
                return

    def finish(self) -> None:
        """Check the rows that were taken.

        Raises:
            ManifestError: more than a tenth of them have a box that cannot be right, or all boxes lie in one corner.
        """
        rows, self._rows = self._rows, []
        if not self._is_open or len(rows) < FEWEST_ROWS:
            return
        self._is_open = False
        sizes = self._read_sizes(rows)
        checked = [self._check(row, sizes.get(row.index)) for row in rows]
        measured = [row for row in checked if row.size is not None]
        for group in (measured, checked):  # because without a size fewer faults can be proved
            bad = [row for row in group if row.fault is not None]
            if len(group) >= FEWEST_ROWS and len(bad) > MAX_BAD_SHARE * len(group):
                raise ManifestError(self._refusal(bad, len(group)))
        if len(measured) >= FEWEST_CORNER_ROWS and all(self._is_in_corner(row) for row in measured):
            raise ManifestError(
                f"manifest {self._where}: all boxes of {len(measured):,} rows lie in the upper left quarter of their images, as "
                "those of smaller copies or in percent do. Give the boxes in px of the upright images, or set "
                "`detect.trust_boxes: true` if they are right"
            )

    def _check(self, row: ManifestRow, read: _Size) -> _Checked:
        truth = row.regions or GroundTruth.empty()
        size = read if read is not None or truth.is_normalised else truth.size
        fault = self._boxes.fault(truth, size)
        return _Checked(row.index, truth if size is None else truth.in_pixels(*size), size, fault)

    def _is_in_corner(self, row: _Checked) -> bool:
        own = row.truth.boxes[self._boxes.mask(row.truth)]
        return row.size is not None and bool((own[:, 2:] <= np.array(row.size) / 2).all())

    def _refusal(self, bad: Sequence[_Checked], count: int) -> str:
        lines = [f"  row {row.number}: {row.fault}" for row in bad[:_SHOWN]]
        more = len(bad) - len(lines)
        return (
            f"manifest {self._where}: {len(bad):,} of {count:,} rows checked have a box that cannot be right (rows counted "
            "from 0):\n"
            + "\n".join(lines)
            + (f"\n  and {more:,} more" if more > 0 else "")
            + "\nBoxes are x1, y1, x2, y2 in px of the upright image (EXIF orientation applied). Correct them, or set "
            "`detect.trust_boxes: true` to withhold such rows one by one"
        )

    def _read_sizes(self, rows: Sequence[ManifestRow]) -> dict[int, tuple[int, int]]:
        """Return row number -> size of the upright image for a part of the rows, as far as they can be read."""
        chosen = [rows[at] for at in sorted(set(np.linspace(0, len(rows) - 1, READ_ROWS).astype(int).tolist()))]
        reader = SourceReader(self._storage, AllowedSources.of(self._config.sources, self._config.manifest))
        found: dict[int, tuple[int, int]] = {}
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(chosen), _READERS):
                batch = chosen[start : start + _READERS]
                sizes: Iterable[_Size] = pool.map(lambda row: self._size(reader, row), batch)
                known = {row.index: size for row, size in zip(batch, sizes, strict=True) if size is not None}
                if not known:  # because sources that cannot be read take long, and are reported with their rows
                    break
                found.update(known)
        return found

    def _size(self, reader: SourceReader, row: ManifestRow) -> _Size:
        limit = min(self._config.limits.max_bytes, READ_BYTES)
        try:
            data = reader.read(row, limit)
            # Because a hostile file must not end the driver, read no format whose header a native library parses.
            if sniff(data) not in ("JPEG", "PNG", "WEBP"):
                return None
            image = SourceImage.open(row.image_id, data, max_pixels=self._config.limits.max_pixels, max_bytes=limit)
        except Exception:  # because the row's own attempt reports it, whatever it is
            return None
        return image.width, image.height
