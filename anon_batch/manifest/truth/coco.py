"""Ground truth of COCO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.errors import ManifestError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.truth.labelled import Box, Entries, Labelled
from anon_batch.manifest.truth.simple import four_numbers, size_of
from anon_batch.records import DEFAULT_LABEL

FACE_CATEGORIES = {"face", "human face"}


def is_coco(data: Any) -> bool:
    """Return whether a JSON value has the lists of COCO."""
    return isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def read_coco(data: Mapping[str, Any], where: str, labels: LabelMap) -> Entries:
    """Read COCO: boxes x, y, w, h; `iscrowd` or `ignore` sets `ignore`.

    Raises:
        ManifestError: a key is missing, or an image comes twice.
    """
    try:
        label_of = _coco_labels({c["id"]: str(c["name"]) for c in data.get("categories") or ()}, labels)
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        if len(set(names.values())) < len(data["images"]):
            raise ManifestError(f"{where}: two entries of `images` have the same id or file_name")
        out = {str(image["file_name"]): Labelled([], size_of(image)) for image in data["images"]}
        for annotation in data["annotations"]:
            label = label_of[annotation["category_id"]] if label_of else labels.get(DEFAULT_LABEL)
            if label is None:
                continue
            x, y, w, h = four_numbers(annotation["bbox"], f"{where}, image {annotation['image_id']}")
            ignored = bool(annotation.get("iscrowd") or annotation.get("ignore"))
            out[names[annotation["image_id"]]].boxes.append(Box(x, y, x + w, y + h, label, ignored))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ManifestError(f"{where}: not COCO, {type(exc).__name__}: {exc}") from None
    return out


def _coco_labels(categories: Mapping[Any, str], labels: LabelMap) -> dict[Any, str | None]:
    """Return category id -> label, None for a category to leave out."""
    if labels.label is not None or labels.categories:
        return {key: labels.get(name.strip()) for key, name in categories.items()}
    faces = {key for key, name in categories.items() if name.strip().casefold() in FACE_CATEGORIES}
    if faces or len(categories) == 1:
        return {key: DEFAULT_LABEL if key in faces or not faces else None for key in categories}
    return {key: name.strip() for key, name in categories.items()}
