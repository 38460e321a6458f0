"""The photographs that a benchmark starts from, and sets of copies of them with their labels and manifest."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from anon_batch.formats.layout import IMAGE_SUFFIXES
from anon_batch.manifest.ground_truth import FaceRows, read_ground_truth
from anon_batch.storage import Storage
from benchmarks import contenders

_PLACES = (
    (Path("../shared/data/photos/images"), Path("../shared/data/photos/boxes.json")),
    (Path("manifests/sample/photos"), Path("manifests/sample/faces.json")),
)


class NoPhotographsError(Exception):
    """There is nothing to measure on; the message says what to name."""


class Source(NamedTuple):
    """A photograph: its file, and its labelled faces as (N, 5) rows of x1, y1, x2, y2, ignore; None: not labelled."""

    path: Path
    faces: FaceRows | None


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Photographs repeated to a number of pictures.

    Args:
        folder: holds nothing but the pictures.
        manifest: lists them.
        originals: picture's name -> what it is a copy of.
        about: figures that say what the set is.
    """

    folder: Path
    manifest: Path
    originals: Mapping[str, Source]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    @property
    def distinct(self) -> list[Source]:
        """The originals, each once."""
        return list({source.path: source for source in self.originals.values()}.values())

    @property
    def is_labelled(self) -> bool:
        return any(source.faces is not None for source in self.originals.values())


def find_photographs(folder: Path | None, labels: Path | None) -> list[Source]:
    """The photographs of a folder, or of the first default place that is there.

    Raises:
        NoPhotographsError: there are none.
        ManifestError: the labels cannot be read.
    """
    if folder is None:
        known = next(((place, truth) for place, truth in _PLACES if place.is_dir()), None)
        if known is None:
            raise NoPhotographsError("no photographs here; name a folder of them with --photos")
        folder, labels = known[0], labels or (known[1] if known[1].exists() else None)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise NoPhotographsError(f"{folder}: no photographs; name a folder of them with --photos")
    known_faces = read_ground_truth(Storage(), str(labels)) if labels else {}
    return [Source(path, _faces_of(path.relative_to(folder), known_faces)) for path in paths]


def _faces_of(path: Path, known: Mapping[str, FaceRows]) -> FaceRows | None:
    return known.get(path.as_posix(), known.get(path.name))


def make_set(
    sources: Sequence[Source],
    folder: Path,
    images: int,
    about: Mapping[str, Any] | None = None,
    *,
    scored: bool = False,
) -> PictureSet:
    """Copies photographs in turn until there are `images` pictures, and lists them.

    Args:
        sources: photographs.
        folder: does not exist yet; gets `pictures`, `manifest.parquet` and perhaps `labels.csv`.
        images: how many pictures.
        about: what is to be told of the set besides sizes.
        scored: whether the manifest has the labels, so that a run scores itself, which takes time of its own.
    """
    folder.mkdir(parents=True)
    sources = sources[:images]
    originals = repeat(sources, folder / "pictures", images)
    truth = None
    if scored and any(source.faces is not None for source in sources):
        truth = write_labels(originals, folder / "labels.csv")
    contenders.build_manifest(folder / "pictures", folder / "manifest.parquet", truth)
    bytes_each = sum(source.path.stat().st_size for source in originals.values()) / images
    figures = {"images": images, "distinct": len(sources), "bytes": bytes_each, "megapixels": _megapixels(sources)}
    return PictureSet(folder / "pictures", folder / "manifest.parquet", originals, figures | dict(about or {}))


def repeat(sources: Sequence[Source], folder: Path, images: int) -> dict[str, Source]:
    """Makes `images` distinctly named hard links to the photographs, or copies where links cannot be.

    Returns:
        Name -> photograph.
    """
    folder.mkdir()
    originals = {}
    for at in range(images):
        turn, number = divmod(at, len(sources))
        source = sources[number]
        name = f"{turn:05d}-{number:05d}-{source.path.name}"
        try:
            os.link(source.path, folder / name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source.path, folder / name)
        originals[name] = source
    return originals


def write_labels(originals: Mapping[str, Source], path: Path) -> Path:
    """Writes the ground truth of the labelled copies as CSV to `path` and returns it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "x1", "y1", "x2", "y2", "ignore"))
        for name, source in originals.items():
            if source.faces is None:
                continue
            writer.writerows((name, *box, int(ignore)) for *box, ignore in source.faces.tolist())
            if not len(source.faces):
                writer.writerow((name, "", "", "", "", ""))
    return path


def _megapixels(sources: Sequence[Source]) -> float:
    from PIL import Image

    pixels = 0
    for source in sources:
        with Image.open(source.path) as image:
            pixels += image.width * image.height
    return pixels / len(sources) / 1e6
