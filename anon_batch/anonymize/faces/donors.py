"""The bank of synthetic donor faces.

A donor is an image of the bank or its mirror image: 2 i and 2 i + 1. Both are one identity.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from anon_batch.anonymize.faces import landmarks
from anon_batch.errors import ModelError
from anon_batch.records import FloatArray, PixelArray

MODEL_NAME = "donors"
_T = TypeVar("_T", bound=np.generic)
TRAITS = ("age", "sex", "skin")  # columns of labels that describe a person
_KEPT_IMAGES = 256  # decoded donors in memory, 0.13 MB each
# Name -> dtype, rows for each image, and what follows them in the shape; None for bytes of image files.
_TENSORS: Mapping[str, tuple[Any, int | None, tuple[int, ...]]] = {
    "jpeg": (np.uint8, None, ()),
    "jpeg_end": (np.int64, 1, ()),
    "matte_jpeg": (np.uint8, None, ()),
    "matte_end": (np.int64, 1, ()),
    "landmarks": (np.float32, 2, (5, 2)),
    "boxes": (np.float32, 2, (4,)),
    "cells": (np.int8, 1, (24, 24, 3)),
    "slopes": (np.int8, 1, (24, 24, 2)),
    "inside": (np.uint8, 1, (24, 24)),
    "faces": (np.uint8, 1, (24, 24)),
    "cheek": (np.float32, 1, (3,)),
    "unlit": (np.float32, 1, ()),
    "codes": (np.float32, 2, (48,)),
    "labels": (np.uint8, 1, (6,)),
    "looks": (np.uint8, 1, (5,)),
}
_FILES = (("jpeg", "jpeg_end"), ("matte_jpeg", "matte_end"))


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """One face of the bank, mirrored or not.

    Args:
        index: 0 .. 2 n - 1 of a bank of n images; odd ones are mirrored.
        pixels: (side, side, 3) uint8 RGB.
        matte: (side, side) uint8, 255 where the image shows the face, 0 on hair and background.
        points: (5, 2) float64 landmarks, px.
        box: (4,) float64 xyxy of the face, px.
        cheek: (3,) float64, Lab of its cheeks.
    """

    index: int
    pixels: PixelArray
    matte: PixelArray
    points: landmarks.Points
    box: npt.NDArray[np.float64]
    cheek: npt.NDArray[np.float64]


class DonorBank:
    """Donors with what the choice among them needs.

    Args:
        data: bytes of a bank, as `tools/donor_bank.py` writes it (safetensors).

    Attributes:
        tensors: all tensors of the file, by name.
        code_names: column of `labels` -> code -> name.

    Raises:
        ModelError: the bytes are not a bank.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self.tensors: Mapping[str, npt.NDArray[Any]] = safetensors.numpy.load(data)
            length = int.from_bytes(data[:8], "little")
            notes = json.loads(data[8 : 8 + length])["__metadata__"]
            self.code_names: Mapping[str, list[str]] = json.loads(notes["labels"]) | json.loads(notes["looks"])
        except Exception as exc:  # safetensors and json have their own errors for each kind of damage
            raise ModelError(f"donor bank: not readable ({type(exc).__name__}: {exc})") from None
        self._check()
        self._decoded: OrderedDict[int, tuple[PixelArray, PixelArray]] = OrderedDict()

    def _check(self) -> None:
        tensors = self.tensors
        images = tensors["jpeg_end"].size if "jpeg_end" in tensors else 0
        odd = []
        for name, (dtype, rows, shape) in _TENSORS.items():
            own = tensors.get(name)
            fits = own is not None and own.dtype == dtype
            if not fits or own is None or (rows is not None and own.shape != (rows * images, *shape)):
                odd.append(name)
        if not odd:
            odd = [data for data, ends in _FILES if not _is_cut_well(tensors[data], tensors[ends])]
        if odd or not images:
            raise ModelError(
                f"donor bank: its tensors {', '.join(odd)} do not fit together or this version; build it again"
            )

    def __len__(self) -> int:
        """Return the number of donors: two for each image."""
        return len(self.tensors["landmarks"])

    def label_is(self, column: str, *names: str) -> npt.NDArray[np.float32]:
        """Return 1 for each donor whose label in a column is one of `names`, 0 for the others, (2 n,) float32."""
        if column not in self.code_names:
            raise ModelError(f"donor bank: it has no labels `{column}`; build it again")
        position = list(self.code_names).index(column)
        codes = [code for code, name in enumerate(self.code_names[column]) if name in names]
        columns = np.concatenate([self.tensors["labels"], self.tensors["looks"]], axis=1)
        return np.repeat(np.isin(columns[:, position], codes).astype(np.float32), 2)

    def traits_of(self, index: int) -> dict[str, str]:
        """Return what a donor was labelled as: `age`, `sex` and `skin`, without those that are not known."""
        columns = np.concatenate([self.tensors["labels"][index // 2], self.tensors["looks"][index // 2]])
        found = {
            trait: names[code]
            for (trait, names), code in zip(self.code_names.items(), columns.tolist(), strict=False)
            if trait in TRAITS and code < len(names)
        }
        return {trait: name for trait, name in found.items() if name != "-"}

    def donor(self, index: int) -> Donor:
        """Return the donor of an index, 0 .. len - 1."""
        pixels, matte = self._image(index // 2)
        if index % 2:
            pixels, matte = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(matte[:, ::-1])
        points = self.tensors["landmarks"][index].astype(np.float64)
        box = self.tensors["boxes"][index].astype(np.float64)
        return Donor(index, pixels, matte, points, box, self.tensors["cheek"][index // 2].astype(np.float64))

    def face_cells(self) -> FloatArray:
        """Return where the donors' images show face, (2 n, 24, 24) float32, 0 .. 7; mirror images alternate."""
        faces = self.tensors["faces"].astype(np.float32)
        return _alternate(faces, faces[:, :, ::-1])

    def cells(self) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
        """Return the donors' surroundings in whole numbers; mirror images alternate.

        Returns:
            Colours (2 n, 24, 24, 3) and slopes (2 n, 24, 24, 2) as in `cells`, float32, and which cells lie inside the donor's
            image, (2 n, 24, 24) bool.
        """
        colours, slopes = (self.tensors[name].astype(np.float32) for name in ("cells", "slopes"))
        inside = self.tensors["inside"] > 0
        turned = slopes[:, :, ::-1] * np.array([-1, 1], np.float32)
        return (
            _alternate(colours, colours[:, :, ::-1]),
            _alternate(slopes, turned),
            _alternate(inside, inside[:, :, ::-1]),
        )

    def _image(self, image: int) -> tuple[PixelArray, PixelArray]:
        """Return pixels and matte of an image of the bank; the last ones used stay decoded."""
        if image in self._decoded:
            self._decoded.move_to_end(image)
            return self._decoded[image]
        pixels = cv2.cvtColor(self._decode("jpeg", "jpeg_end", image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        small = self._decode("matte_jpeg", "matte_end", image, cv2.IMREAD_GRAYSCALE)
        matte = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        self._decoded[image] = np.asarray(pixels, np.uint8), np.asarray(matte, np.uint8)
        if len(self._decoded) > _KEPT_IMAGES:
            self._decoded.popitem(last=False)
        return self._decoded[image]

    def _decode(self, name: str, ends: str, image: int, flags: int) -> PixelArray:
        start = int(self.tensors[ends][image - 1]) if image else 0
        return np.asarray(cv2.imdecode(self.tensors[name][start : int(self.tensors[ends][image])], flags), np.uint8)


def _is_cut_well(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> bool:
    """Return whether the bytes between rising ends are JPEG files, as far as their first two bytes tell."""
    starts = np.concatenate([[0], ends[:-1]])
    if data.ndim != 1 or not len(ends) or int(ends[-1]) != len(data) or bool((ends - starts < 2).any()):
        return False
    return bool((data[starts] == 0xFF).all() and (data[starts + 1] == 0xD8).all())


def _alternate(first: npt.NDArray[_T], second: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Return the rows of two arrays (n, ...) in turn, (2 n, ...)."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])
