"""Build the bank of donor faces: images, mattes, landmarks, thumbnails, tones, labels and codes of chosen synthetic faces.

    python -m tools.donor_bank FACES jobs/training/donors.tsv --output donors.safetensors --encoder encoder.safetensors

FACES holds crops/ and meta.jsonl as `anon-batch train` reads them. The table lists the donors, one a line, chosen by eye and
labelled. Codes need the encoder of faces; without it they are zero. The same inputs give the same bytes.

    python -m tools.donor_bank --relabel donors.safetensors jobs/training/donors.tsv --output donors.safetensors

takes all but the labels from a bank of the same faces.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, load_file, save

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import warp_affine
from anon_batch.anonymize.faces.cells import shrink, whole_colours, whole_matte, whole_slopes
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.anonymize.faces.encoder import PREFIX
from anon_batch.anonymize.faces.surroundings import IDEAL
from anon_batch.records import FloatArray, PixelArray
from anon_batch.train.face_crops import FaceCrop, is_held_out, read_crops
from tools.donor_light import even_light
from tools.donor_matte import face_matte
from tools.donor_views import FRAME_SIDE, SIDE, donor_image, lab_of, thumbnail

MATTE_SIDE = 104
MATTE_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 86, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
INSIDE = 0.95  # share of a cell that must be real
CODE = 48  # numbers of a code
CHEEK_ROWS, CHEEK_COLUMNS = slice(24, 29), (slice(14, 19), slice(29, 34))  # of the landmark frame
TABLES = {
    "age": ("baby", "child", "teen", "young", "middle", "old"),
    "sex": ("f", "m", "u"),
    "skin": ("-", "1", "2", "3", "4", "5"),  # 1 very light, 5 dark
    "glasses": ("n", "y"),
    "mouth": ("closed", "smile", "teeth", "open"),
    "grade": ("-", "1", "2", "3"),  # 1 best, 3 only where nothing else fits
    "hair": ("black", "brown", "blond", "red", "grey", "white", "dyed", "bald", "covered"),
    "beard": ("n", "stubble", "y"),
    "pose": ("front", "l", "r", "L", "R"),  # towards the left or right of the image, capitals: nearly a profile
    "light": ("even", "side", "rim", "dark"),
    "fringe": ("n", "y", "c"),  # y hair, c a hat or cloth over the forehead
}
LABELS, LOOKS = ("age", "sex", "skin", "glasses", "mouth", "grade"), ("hair", "beard", "pose", "light", "fringe")
SOURCE = (
    "SFHQ-T2I, synthetic faces by text-to-image models (FLUX.1, SDXL, DALL-E 3), SelfishGene/SFHQ-T2I-dataset @ a8064474, "
    'no LICENSE file; its README: "Since all images in this dataset are synthetically generated, there are no privacy issues '
    'or license issues surrounding these images"'
)

Row = dict[str, str]


def read_table(path: Path) -> list[Row]:
    """Read the table of donors: tab separated, with a header.

    Raises:
        ValueError: a file occurs twice or is held out, or a label is unknown; names it.
    """
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"))
    seen: set[str] = set()
    for row in rows:
        faults = [f"{name} {row.get(name)} is unknown" for name, known in TABLES.items() if row.get(name) not in known]
        faults += ["listed twice"] * (row["file"] in seen) + ["held out"] * is_held_out(row["file"])
        if faults:
            raise ValueError(f"{path}: {row['file']}: {', '.join(faults)}")
        seen.add(row["file"])
    return rows


def places(rows: list[Row], columns: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return labels as their places in the tables, (n, columns)."""
    return np.array([[TABLES[column].index(row[column]) for column in columns] for row in rows], np.uint8)


def cheek_tones(lab: FloatArray) -> FloatArray:
    """Return the median Lab (n, 3) of both cheeks of thumbnails (n, 48, 48, 3)."""
    cheeks = [lab[:, CHEEK_ROWS, columns].reshape(len(lab), -1, 3) for columns in CHEEK_COLUMNS]
    return np.asarray(np.median(np.concatenate(cheeks, axis=1), axis=1), np.float32)


def badness_of_light(lab: FloatArray) -> FloatArray:
    """Return penalties (n,), 0 for soft and even light: contrast, one side brighter, blue, two casts, shine."""
    y, x = np.mgrid[0:FRAME_SIDE, 0:FRAME_SIDE] + 0.5 - FRAME_SIDE / 2
    inner = (x / (0.74 * FRAME_SIDE / 3)) ** 2 + (y / (FRAME_SIDE / 3)) ** 2 < 0.72
    light, blueness = lab[..., 0].astype(np.float64), lab[..., 2]
    upper, lower = (np.median(lab[:, inner & half, 1:], axis=1) for half in (y < -2, y > 2))
    left, right = (light[:, inner & half].mean(axis=1) for half in (x < -3, x > 3))
    parts = (  # value, up to what it is free, what costs 1
        (light[:, inner].std(axis=1), 17.0, 6.0),
        (np.abs(left - right), 7.0, 12.0),
        ((blueness[:, inner] < 3).mean(axis=1), 0.05, 0.15),
        (np.abs(upper - lower).sum(axis=1), 8.0, 8.0),
        ((light[:, inner] > 90).mean(axis=1), 0.01, 0.04),
    )
    return np.asarray(sum(np.maximum(value - free, 0) / unit for value, free, unit in parts), np.float32)


def encode(lab: FloatArray, encoder: Path | None) -> FloatArray:
    """Return the codes of faces and their mirror images in turn, (2n, 48)."""
    if encoder is None:
        return np.zeros((2 * len(lab), CODE), np.float32)
    from tools.surroundings_encoder import encode_faces

    both = np.stack([lab, lab[:, :, ::-1]], axis=1).reshape(-1, *lab.shape[1:])
    return encode_faces(encoder, both)


def build(faces: list[FaceCrop], rows: list[Row], encoder: Path | None) -> dict[str, npt.NDArray[np.generic]]:
    """Return the bank's tensors. Of 2n rows, each odd one is the mirror image of the one before."""
    jpegs, mattes, outlines, inner, boxes, points = [], [], [], [], [], []
    for face, row in zip(faces, rows, strict=True):
        pixels, box, own = donor_image(face)
        matte = face_matte(pixels, box, own, profile=row["pose"] in ("L", "R"), beard=row["beard"] != "n")
        small = cv2.resize(matte, (MATTE_SIDE, MATTE_SIDE), interpolation=cv2.INTER_AREA)
        mattes.append(cv2.imencode(".jpg", np.rint(small * 255).astype(np.uint8), MATTE_JPEG)[1].ravel())
        outlines.append(whole_matte(in_frame_matte(matte, own)))
        pixels = even_light(pixels, own, balance=row["pose"] == "front")
        inner.append(in_frame(pixels, own))
        jpegs.append(cv2.imencode(".jpg", pixels[:, :, ::-1], JPEG)[1].ravel())
        boxes += [box, np.array([SIDE - box[2], box[1], SIDE - box[0], box[3]])]
        points += [own, landmarks.mirror(own, SIDE)]
    thumbs, valid = (np.stack(part) for part in zip(*map(thumbnail, faces), strict=True))
    lab = lab_of(thumbs)
    return {
        "jpeg": np.concatenate(jpegs),
        "jpeg_end": np.cumsum([len(j) for j in jpegs], dtype=np.int64),
        "matte_jpeg": np.concatenate(mattes),
        "matte_end": np.cumsum([len(m) for m in mattes], dtype=np.int64),
        "landmarks": np.array(points, np.float32),
        "boxes": np.array(boxes, np.float32),
        "cells": np.stack([whole_colours(image) for image in lab]).astype(np.int8),
        "slopes": np.stack([whole_slopes(image) for image in lab]).astype(np.int8),
        "inside": (np.stack([shrink(v.astype(np.float32)) for v in valid]) > INSIDE).astype(np.uint8),
        "faces": np.stack(outlines).astype(np.uint8),
        "cheek": cheek_tones(np.stack(inner)),
        "unlit": badness_of_light(np.stack(inner)),
        "codes": encode(lab, encoder),
        "labels": places(rows, LABELS),
        "looks": places(rows, LOOKS),
        **({} if encoder is None else surroundings_half(encoder)),
    }


def in_frame(pixels: PixelArray, points: npt.NDArray[np.float64]) -> FloatArray:
    """Return a donor's image in the landmark frame, (48, 48, 3) float32 Lab."""
    to_frame = landmarks.similarity(points[None], IDEAL[None])[0]
    return rgb_to_lab(warp_affine(pixels, to_frame, FRAME_SIDE, cv2.BORDER_REPLICATE).clip(0, 255))


def in_frame_matte(matte: FloatArray, points: npt.NDArray[np.float64]) -> FloatArray:
    """Return a donor's matte in the landmark frame, (48, 48) float32."""
    return warp_affine(matte, landmarks.similarity(points[None], IDEAL[None])[0], FRAME_SIDE, cv2.BORDER_CONSTANT)


def surroundings_half(encoder: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return the weights of the encoder's half that runs in a job."""
    return {name: values for name, values in load_file(encoder).items() if name.startswith(PREFIX)}


def metadata(inputs: list[Path]) -> dict[str, str]:
    """Return where the bank comes from, and its tables of labels."""
    return {
        "tool": "tools/donor_bank.py",
        "source": SOURCE,
        "inputs": json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs}),
        "labels": json.dumps({column: TABLES[column] for column in LABELS}),
        "looks": json.dumps({column: TABLES[column] for column in LOOKS}),
    }


def relabel(data: bytes, table: Path) -> bytes:
    """Return a bank with the labels of another table of the same donors in the same order.

    Raises:
        ValueError: the table has another number of donors, or is not a table of donors.
    """
    rows, tensors = read_table(table), load(data)
    if len(rows) != len(tensors["labels"]):
        raise ValueError(f"{table}: {len(rows)} donors, expected the bank's {len(tensors['labels'])}")
    notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    inputs = {table.name: hashlib.sha256(table.read_bytes()).hexdigest()}
    notes |= metadata([]) | {"inputs": json.dumps(json.loads(notes["inputs"]) | inputs)}
    return in_order(save({**tensors, "labels": places(rows, LABELS), "looks": places(rows, LOOKS)}, notes))


def in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted, because the library writes them in a random order."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[start:]


def main() -> None:
    """Build the bank, write it, and print its tensors and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="?")
    parser.add_argument("table", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--relabel", type=Path, metavar="BANK")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    if (chosen.relabel is None) == (chosen.faces is None):
        parser.error("give either FACES or --relabel BANK")
    if chosen.relabel is not None:
        chosen.output.write_bytes(relabel(chosen.relabel.read_bytes(), chosen.table))
        return
    rows = read_table(chosen.table)
    by_name = {face.name: face for face in read_crops([chosen.faces])}
    missing = [row["file"] for row in rows if row["file"] not in by_name]
    if missing:
        parser.error(f"not in {chosen.faces}: {', '.join(missing[:5])} ({len(missing)} of {len(rows)})")
    tensors = build([by_name[row["file"]] for row in rows], rows, chosen.encoder)
    inputs = [chosen.table, chosen.faces / "meta.jsonl", *([chosen.encoder] if chosen.encoder else [])]
    chosen.output.write_bytes(in_order(save(tensors, metadata(inputs))))
    for name, tensor in tensors.items():
        print(f"{name}: {tensor.dtype} {tensor.shape}, {tensor.nbytes} bytes")
    print(f"{len(rows)} donors, {chosen.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
