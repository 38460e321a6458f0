"""What every release of a miniature must keep of its source, and what it must not say."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from recipes.commands import Made
from recipes.photographs import Photograph, upright

_CHANGED = 12.0  # mean difference of the levels in the middle of a face; another face, or cells, change more
_UNCHANGED = 0.2  # not 0, because JPEG's colours reach over the edge of a region
_MIDDLE = 0.25


def check_rows(made: Made, ids: Sequence[str]) -> None:
    """Check that a release has a row for each image of its source, in order, and each with an output."""
    assert [row["image_id"] for row in made.manifest()] == list(ids)
    assert [row["image_id"] for row in made.rows()] == list(ids)
    assert {row["status"] for row in made.rows()} <= {"anonymized", "clean"}
    sampled = pq.read_table(made.sample / "provenance").to_pylist()
    assert sorted(row["image_id"] for row in sampled) == sorted(
        ids
    )  # because a miniature has fewer images than the sample


def check_image(source: Photograph, output: bytes, row: Mapping[str, Any]) -> None:
    """Check format, mode and size of a published image, that every face is another one, and that the rest is as it was.

    Args:
        source: what it was made of.
        output: the published file.
        row: of the provenance, whose regions may differ from the source.
    """
    before, after = Image.open(io.BytesIO(output)), upright(output)
    is_png = source.data.startswith(b"\x89PNG")
    assert (before.format, after.size) == ("PNG" if is_png else "JPEG", source.size)
    assert before.mode == upright(source.data).mode
    assert (row["width"], row["height"]) == source.size
    new, old = (np.asarray(image.convert("RGB"), np.float32) for image in (after, upright(source.data)))
    change = np.abs(new - old).mean(2)
    for x1, y1, x2, y2 in source.faces:
        w, h = (x2 - x1) * _MIDDLE, (y2 - y1) * _MIDDLE
        assert change[int(y1 + h) : int(y2 - h), int(x1 + w) : int(x2 - w)].mean() > _CHANGED
    for region in row["regions"]:
        change[int(region["y1"]) : int(region["y2"]) + 1, int(region["x1"]) : int(region["x2"]) + 1] = 0
    assert change.mean() < _UNCHANGED, "what is no face has changed"


def check_leaks(made: Made, photographs: Iterable[Photograph], secrets: Iterable[str]) -> None:
    """Check that no public file holds the digest or the address of a source, or another text that leads to it.

    An image in which nothing was found and that has no metadata may be its source, byte for byte.
    """
    same = {row["sha256"] for row in made.rows() if row["status"] == "clean"}
    digests = {hashlib.sha256(source.data).hexdigest() for source in photographs} - same
    hidden = [*digests, *secrets, str(made.folder), "my-datasets", "my-restricted", "open-images-dataset"]
    for path in made.release.rglob("*"):
        for name, content in _texts(path) if path.is_file() else ():
            for secret in hidden:
                assert secret.encode() not in content, f"{name} holds {secret}"


def _texts(path: Path) -> Iterable[tuple[str, bytes]]:
    """Yield the content of a public file: Parquet as JSON with its metadata, the members of tars one by one."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield path.name, json.dumps([table.to_pylist(), str(table.schema)], default=str).encode()
    elif path.suffix == ".tar":
        with tarfile.open(path) as tar:
            for info in tar:
                file = tar.extractfile(info)
                yield f"{path.name}!{info.name}", info.name.encode() + (file.read() if file else b"")
    else:
        yield path.name, path.read_bytes()


def check_files(made: Made, photograph_of: Mapping[str, Photograph]) -> None:
    """Check every image of a release in the layout `files`."""
    for row in made.rows():
        check_image(photograph_of[row["image_id"]], (made.release / row["output"]).read_bytes(), row)
