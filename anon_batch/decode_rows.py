"""Read and decode the images of manifest rows one after the other, for commands that are not a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from anon_batch.errors import RowError
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.fetch import SourceReader
from anon_batch.records import ManifestRow


def decode_rows(
    reader: SourceReader, rows: Iterable[ManifestRow], max_pixels: int, max_bytes: int, failures: Counter[str]
) -> Iterator[tuple[ManifestRow, SourceImage]]:
    """Yield each row with its decoded image. Count rows that cannot be decoded by reason, and skip them.

    Args:
        reader: of the images.
        rows: of a manifest.
        max_pixels: upper bound of width times height.
        max_bytes: upper bound of a file's length.
        failures: reason code -> skipped rows; grows as rows are read.

    Raises:
        StorageError: a file cannot be read, because a missing file is an error of the list.
    """
    for row in rows:
        try:
            data = reader.read(row, max_bytes)
            image = SourceImage.open(row.image_id, data, max_pixels=max_pixels, max_bytes=max_bytes)
            image.decode()
        except RowError as exc:
            failures[exc.reason] += 1
        else:
            yield row.measured(image.width, image.height), image
