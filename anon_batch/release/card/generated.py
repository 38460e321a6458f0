"""What the card says about generated faces: how many images show one, how they are marked, and which cannot be."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from anon_batch.formats.release import Release
from anon_batch.imaging.metadata.mark import SOURCE_TYPE, UNMARKABLE
from anon_batch.shards import effective
from anon_batch.units import format_count


def describe_generated(release: Release, *, marked: bool) -> str:
    """Return the statement about synthetic content, Markdown.

    Args:
        release: finished.
        marked: whether the job marks images with generated content.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: storage fails or refuses.
    """
    formats = _count_by_format(release)
    images = formats.total()
    if not images:
        return "No image of this release shows anything that a model generated."
    column = "column `synthetic` says which, column `regions` of the provenance says where"
    said = f"{_images(images, 'shows', 'show')} a face or another region that a model generated ({column})."
    if not marked:
        return f"{said} The files themselves are not marked as such."
    unmarked = {name: formats[name] for name in sorted(UNMARKABLE & formats.keys())}
    rest = images - sum(unmarked.values())
    if rest:
        holders = _images(rest, "holds", "hold") if unmarked else "Each holds"
        said += f" {holders} a mark that says so: XMP with IPTC's digital source type `{_name(SOURCE_TYPE)}`."
    for name, count in unmarked.items():
        said += f" {_images(count, 'holds', 'hold')} none, because the format {name} has no place for it."
    for version in release.versions:
        if version.kind == "c2pa":
            count = version.changes.get("signed", 0)
            signed = _images(count, "was", "were")
            said += f" {signed} signed in version {version.number} (Content Credentials, C2PA)."
    return f"{said} There is no watermark."


def _count_by_format(release: Release) -> Counter[str]:
    """Return format -> images with a generated region."""
    counts: Counter[str] = Counter()
    for spec in effective(release.parts()):
        table = release.read_part(spec).table
        counts.update(table.filter(pc.equal(table.column("synthetic"), True)).column("format").to_pylist())
    return counts


def _images(count: int, one: str, several: str) -> str:
    return f"{format_count(count)} image{'' if count == 1 else 's'} {one if count == 1 else several}"


def _name(source_type: str) -> str:
    return source_type.rpartition("/")[2]
