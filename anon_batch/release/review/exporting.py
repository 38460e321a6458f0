"""Write the sample for other programs: its regions as COCO or Label Studio JSON, and its outputs as files."""

from __future__ import annotations

import json
from typing import Literal

from anon_batch.errors import ConfigError
from anon_batch.formats.release import Release
from anon_batch.release.review.coco import export_coco
from anon_batch.release.review.draw import Sample
from anon_batch.release.review.interchange import file_name
from anon_batch.release.review.keep import outside_release
from anon_batch.release.review.label_studio import LOCAL_FILES, export_label_studio
from anon_batch.release.review.outputs import read_outputs
from anon_batch.storage import join


def write_export(
    release: Release, sample: Sample, kind: Literal["coco", "label-studio"], uri: str, prefix: str | None = None
) -> None:
    """Write the sample's published regions to a file.

    Args:
        release: that the sample is of.
        sample: what to write.
        kind: the format.
        uri: of the file; not below OUTPUT.
        prefix: see `export_label_studio`.

    Raises:
        ConfigError: the file lies below OUTPUT.
    """
    content = export_coco(sample) if kind == "coco" else export_label_studio(sample, prefix or LOCAL_FILES)
    target = outside_release(release, uri, "the export")
    release.storage.put(target, json.dumps(content, indent=1).encode())


def write_images(release: Release, sample: Sample, folder: str) -> None:
    """Write the sampled outputs as files, as an export names them.

    Args:
        release: that the sample is of.
        sample: its outputs.
        folder: not below OUTPUT.

    Raises:
        ConfigError: the folder lies below OUTPUT, or an id is not a path inside it.
        IntegrityError: an output is missing or damaged.
    """
    target = outside_release(release, folder, "the images")
    for output, data in read_outputs(release, sample.outputs):
        name = file_name(output)
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ConfigError(f"{output.image_id!r}: this id is not a path below {folder}")
        release.storage.put(join(target, name), data)
