"""COCO JSON (cocodataset.org, Data format): the sample's published regions for FiftyOne, CVAT and others, and new boxes back."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.records import DEFAULT_LABEL
from anon_batch.release.review.draw import Sample
from anon_batch.release.review.interchange import (
    SampleNote,
    by_name,
    check_note,
    file_name,
    find_output,
    read_boxes,
    sample_note,
)
from anon_batch.release.review.judgements import ForeignModel, ReviewerFile, check_model, clip_note, marks_of

_KIND = "a COCO file with boxes"


class _Info(ForeignModel):
    anon_batch: SampleNote | None = None


class _Image(ForeignModel):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(ForeignModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]


class _Category(ForeignModel):
    id: int
    name: str


class _File(ForeignModel):
    info: _Info = _Info()
    images: list[_Image]
    annotations: list[_Annotation] = Field(default=[])
    categories: list[_Category] = Field(default=[])


def is_coco(content: Any) -> bool:
    """Return whether a JSON document looks like a COCO file."""
    return isinstance(content, dict) and "images" in content and ("annotations" in content or "categories" in content)


def export_coco(sample: Sample) -> dict[str, Any]:
    """Return the sampled outputs and their published regions; a category for each label."""
    labels = {region.label for own in sample.outputs for region in own.regions} | {DEFAULT_LABEL}
    categories = {name: number for number, name in enumerate(sorted(labels), 1)}
    annotations: list[dict[str, Any]] = []
    for number, own in enumerate(sample.outputs, 1):
        for (x1, y1, x2, y2), label, method, synthetic in own.regions:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "segmentation": [],
                    "attributes": {"method": method, "synthetic": synthetic},
                }
            )
    return {
        "info": {"description": f"regions of {sample.name}, a sample", "anon_batch": sample_note(sample)},
        "licenses": [],
        "images": [
            {"id": number, "file_name": file_name(own), "width": own.width, "height": own.height}
            for number, own in enumerate(sample.outputs, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
    }


def note_of(content: Any, uri: str) -> SampleNote | None:
    """Return which sample a file describes; None if another program left that out."""
    return check_model(_File, content, uri, _KIND).info.anon_batch


def read_coco(content: Any, uri: str, sample: Sample) -> ReviewerFile:
    """Return the verdicts of a COCO file: `missed` for an image with a box that is no published region, else `fine`.

    Raises:
        ConfigError: the file is damaged, about another sample, or has a box outside its image.
    """
    file = check_model(_File, content, uri, _KIND)
    check_note(file.info.anon_batch, sample, uri)
    names, labels = by_name(sample), {own.id: own.name for own in file.categories}
    known = {image.id: found for image in file.images if (found := find_output(names, image.file_name)) is not None}
    if not known:
        raise ConfigError(f"{uri}: none of its {len(file.images)} images is in the sample of this release")
    for image in file.images:
        own = known.get(image.id)
        if own is not None and (image.width or own.width, image.height or own.height) != (own.width, own.height):
            raise ConfigError(
                f"{uri}: {image.file_name} is {image.width} x {image.height} px there, the output {own.width} x {own.height}"
            )
    rows: dict[int, list[tuple[tuple[float, ...], str]]] = {}
    for annotation in file.annotations:
        if annotation.category_id not in labels:
            raise ConfigError(
                f"{uri}: an annotation names category {annotation.category_id}, which the file does not list"
            )
        left, top, width, height = annotation.bbox
        box = (left, top, left + width, top + height)
        rows.setdefault(annotation.image_id, []).append((box, labels[annotation.category_id]))
    boxes: dict[str, list[DrawnBox]] = {}
    cut_count = 0
    for number, output in known.items():
        drawn, cut = read_boxes(rows.get(number, []), output, uri)
        boxes.setdefault(output.image_id, []).extend(drawn)
        cut_count += cut
    notes = clip_note(uri, cut_count)
    if foreign := len(file.images) - len(known):
        notes.append(f"{uri}: {foreign} images are not in the sample, and were left out")
    return ReviewerFile("", "", marks_of(list(boxes), boxes), notes=notes)
