"""Make of an image what a shard of a release holds of it, under the name that the release's own run would give it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from anon_batch.config import WriteConfig
from anon_batch.formats import layout
from anon_batch.formats.shard_contents import Entry
from anon_batch.formats.tar_shard import sample_key
from anon_batch.pipeline.sample_names import SampleNames
from anon_batch.pipeline.tar_members import make_sample
from anon_batch.pipeline.writers import make_table
from anon_batch.records import EncodedImage, ManifestRow


class ShardEntries:
    """Names and contents of images in one shard of a release.

    Args:
        write: the job's section.
        rows: all rows of the shard, in order.
        members: name of each row's image inside the shard file of the version before; None without one.
        extra: names and types of the pass-through columns.
    """

    def __init__(
        self, write: WriteConfig, rows: Sequence[ManifestRow], members: Sequence[str | None], extra: pa.Schema
    ) -> None:
        self._layout, self._keep_format = write.layout, write.format == "keep"
        self._extra = extra
        self._names = SampleNames(rows if write.layout == "webdataset" else (), write)
        if write.layout == "webdataset":  # because a row that was erased since may have had its part in the names
            named = zip(rows, members, strict=True)
            self._names.keep({row.index: sample_key(member) for row, member in named if member is not None})

    def entry(self, row: ManifestRow, image: EncodedImage) -> tuple[str, bytes | Entry]:
        """Return name and content of a row's image, as `NewRow` takes them."""
        if self._layout == "webdataset":
            return self._names.image(row, image.format), make_sample(row, image, self._names, self._extra)
        name = layout.output_name(row.image_id, image.format, self._keep_format)
        if self._layout == "files":
            return name, image.data
        return name, make_table([(row, image)], self._keep_format, self._extra)
