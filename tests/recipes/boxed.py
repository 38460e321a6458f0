"""Miniatures of datasets with boxes: COCO 2017, Open Images V7, WIDER FACE.

Sources of the forms: `annotations_trainval2017.zip`; the CSV files that download_v7.html of Open Images names, and its bucket;
the readme of `wider_face_split.zip`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.photographs import photographs

COCO = {
    "train2017": {9: "crowd", 25: "cat", 30: "grey"},
    "val2017": {139: "turned", 285: "lake", 632: "plain", 724: "cup"},
}
OPEN_IMAGES = {
    "0001eeaf4aed83f9": "plain",
    "000595fe6fee6369": "crowd",
    "0009bad4d8539bb4": "lake",
    "0019e544c79847f5": "turned",
    "001c70ec1eb0e21d": "cat",
}
FACE = "/m/0dzct"  # Human face
WIDER = {
    "0--Parade/0_Parade_marchingband_1_465": "crowd",
    "0--Parade/0_Parade_Parade_0_628": "plain",
    "1--Handshaking/1_Handshaking_Handshaking_1_35": "bad_exif",
    "39--Ice_Skating/39_Ice_Skating_iceskiing_39_380": "lake",  # without faces: a count of 0 and a line of zeros
}
INVALID = (4, 4, 10, 10)  # x, y, width, height of a face of the crowd that nobody can see
AUTHOR = "Jane Doe"
_LICENSES = [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}]
_CATEGORIES = {1: ("person", "person"), 17: ("animal", "cat"), 47: ("kitchen", "cup")}


def write_coco(folder: Path) -> None:
    """Write `train2017`, `val2017` and `annotations/instances_*2017.json`, with the addresses that COCO's files hold."""
    for split, images in COCO.items():
        given = [_coco_image(split, number, name) for number, name in images.items()]
        annotations = [own for number, name in images.items() for own in _coco_objects(number, name)]
        _write(
            folder / "annotations" / f"instances_{split}.json",
            json.dumps(
                {
                    "info": {"description": "COCO 2017 Dataset", "year": 2017},
                    "licenses": _LICENSES,
                    "images": given,
                    "annotations": [{**own, "id": 1000 + at} for at, own in enumerate(annotations)],
                    "categories": [{"supercategory": s, "id": c, "name": n} for c, (s, n) in _CATEGORIES.items()],
                }
            ),
        )
        for number, name in images.items():
            _write(folder / split / coco_name(number), photographs()[name].data)


def coco_name(number: int) -> str:
    """Return the file name of an image."""
    return f"{number:012d}.jpg"


def write_open_images(folder: Path, metadata: Path) -> None:
    """Write the images of `validation` as the bucket has them, and beside them the CSV files that describe them."""
    for image_id, name in OPEN_IMAGES.items():
        _write(folder / "validation" / f"{image_id}.jpg", photographs()[name].data)
    boxes = [box for image_id, name in OPEN_IMAGES.items() for box in _open_images_boxes(image_id, name)]
    _csv(metadata / "validation-annotations-bbox.csv", boxes)
    _csv(metadata / "validation-images-with-rotation.csv", map(_open_images_row, OPEN_IMAGES))
    classes = [
        {"LabelName": FACE, "DisplayName": "Human face"},
        {"LabelName": "/m/01yrx", "DisplayName": "Cat"},
        {"LabelName": "/m/01jfm_", "DisplayName": "Vehicle registration plate"},
    ]
    _csv(metadata / "oidv7-class-descriptions-boxable.csv", classes)


def write_wider(folder: Path) -> None:
    """Write `WIDER_val/images` and `wider_face_split/wider_face_val_bbx_gt.txt`."""
    lines = []
    for path, name in WIDER.items():
        photograph = photographs()[name]
        _write(folder / "WIDER_val/images" / f"{path}.jpg", photograph.data)
        faces = [f"{x1} {y1} {x2 - x1} {y2 - y1} 0 0 0 0 0 0 " for x1, y1, x2, y2 in photograph.faces]
        if name == "crowd":
            faces.append(f"{' '.join(map(str, INVALID))} 2 0 0 1 2 0 ")
        lines += [f"{path}.jpg", str(len(faces)), *(faces or ["0 0 0 0 0 0 0 0 0 0 "])]
    _write(folder / "wider_face_split/wider_face_val_bbx_gt.txt", "\n".join([*lines, ""]))


def _coco_image(split: str, number: int, name: str) -> dict[str, Any]:
    width, height = photographs()[name].size
    return {
        "license": 4,
        "file_name": coco_name(number),
        "coco_url": f"http://images.cocodataset.org/{split}/{coco_name(number)}",
        "height": height,
        "width": width,
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": f"http://farm7.staticflickr.com/6116/{number}_02ac7ac6e7_z.jpg",
        "id": number,
    }


def _coco_objects(number: int, name: str) -> list[dict[str, Any]]:
    """Return a person for each face, from its forehead down; one cat; one cup."""
    width, height = photographs()[name].size
    boxes = [(1, x1, y1, x2 - x1, height - y1) for x1, y1, x2, _ in photographs()[name].faces]
    boxes += [(own, 5, 5, width - 10, height - 10) for own, what in ((17, "cat"), (47, "cup")) if what == name]
    return [
        {
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            "area": float(w * h),
            "iscrowd": 0,
            "image_id": number,
            "bbox": [float(x), float(y), float(w), float(h)],
            "category_id": category,
        }
        for category, x, y, w, h in boxes
    ]


def _open_images_boxes(image_id: str, name: str) -> list[dict[str, Any]]:
    """Return the boxes of an image in shares of its size: faces, and one of another class."""
    width, height = photographs()[name].size
    boxes = [(FACE, *box) for box in photographs()[name].faces] + [("/m/01yrx", 0, 0, width // 2, height // 2)]
    flags = {"IsOccluded": 0, "IsTruncated": 0, "IsGroupOf": 0, "IsDepiction": 0, "IsInside": 0}
    return [
        {
            "ImageID": image_id,
            "Source": "xclick",
            "LabelName": label,
            "Confidence": 1,
            "XMin": f"{x1 / width:.6f}",
            "XMax": f"{x2 / width:.6f}",
            "YMin": f"{y1 / height:.6f}",
            "YMax": f"{y2 / height:.6f}",
            **flags,
        }
        for label, x1, y1, x2, y2 in boxes
    ]


def _open_images_row(image_id: str) -> dict[str, Any]:
    return {
        "ImageID": image_id,
        "Subset": "validation",
        "OriginalURL": f"https://farm4.staticflickr.com/3001/{int(image_id, 16)}_o.jpg",
        "OriginalLandingURL": f"https://www.flickr.com/photos/janedoe/{int(image_id, 16)}",
        "License": "https://creativecommons.org/licenses/by/2.0/",
        "AuthorProfileURL": "https://www.flickr.com/people/janedoe/",
        "Author": AUTHOR,
        "Title": "a day",
        "OriginalSize": 1000,
        "OriginalMD5": "KFukvivpCM5QXl5SqKe41g==",
        "Thumbnail300KURL": "",
        "Rotation": "",
    }


def _csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    listed: Sequence[Mapping[str, Any]] = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
