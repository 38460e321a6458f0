"""Banks of drawn donors, and faces to choose donors for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from replacement_scenes import DONOR_SIDE, crop_of, drawn_donor, regions, scenery, turned
from safetensors.numpy import save

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.cells import CELLS
from anon_batch.anonymize.faces.cost_weights import CostWeights
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.encoder import CODE, PREFIX, EncoderNetwork, SurroundingsEncoder
from anon_batch.anonymize.faces.retrieve import Retrieval
from anon_batch.anonymize.faces.surroundings import Surroundings, describe
from anon_batch.records import PixelArray, Shape
from tools.donor_bank import LABELS, LOOKS, TABLES

Tensors = dict[str, npt.NDArray[Any]]
Face = tuple[Crop, Surroundings]


def bank_tensors(images: int, seed: int = 0) -> Tensors:
    """The tensors of a bank of drawn donors whose surroundings, tones, labels and codes are random."""
    rng = np.random.default_rng(seed)
    drawn = [drawn_donor(number % 8) for number in range(images)]
    small = (DONOR_SIDE // 2, DONOR_SIDE // 2)
    jpegs = [_jpeg(pixels[:, :, ::-1]) for pixels, _, _ in drawn]
    mattes = [_jpeg(cv2.resize(oval_matte(box), small, interpolation=cv2.INTER_AREA)) for _, box, _ in drawn]
    boxes = [(box, (DONOR_SIDE - box[2], box[1], DONOR_SIDE - box[0], box[3])) for _, box, _ in drawn]
    points = [own + rng.normal(0, 2, own.shape) for _, _, own in drawn]
    codes = rng.normal(size=(2 * images, CODE))
    return {
        "jpeg": np.concatenate(jpegs),
        "jpeg_end": np.cumsum([len(jpeg) for jpeg in jpegs], dtype=np.int64),
        "matte_jpeg": np.concatenate(mattes),
        "matte_end": np.cumsum([len(jpeg) for jpeg in mattes], dtype=np.int64),
        "landmarks": np.array([(own, landmarks.mirror(own, DONOR_SIDE)) for own in points], np.float32).reshape(
            -1, 5, 2
        ),
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "cells": rng.integers(-25, 26, (images, CELLS, CELLS, 3)).astype(np.int8),
        "slopes": rng.integers(-31, 32, (images, CELLS, CELLS, 2)).astype(np.int8),
        "inside": (rng.random((images, CELLS, CELLS)) < 0.9).astype(np.uint8),
        "faces": rng.integers(0, 8, (images, CELLS, CELLS)).astype(np.uint8),
        "cheek": rng.normal((62, 14, 18), (8, 3, 4), (images, 3)).astype(np.float32),
        "unlit": rng.uniform(0, 2, images).astype(np.float32),
        "codes": (codes / np.linalg.norm(codes, axis=1, keepdims=True)).astype(np.float32),
        "labels": _labels(rng, images, LABELS),
        "looks": _labels(rng, images, LOOKS),
        **encoder_tensors(),
    }


def _jpeg(pixels: PixelArray) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].ravel(), np.uint8)


def _labels(rng: np.random.Generator, images: int, columns: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.stack([rng.integers(0, len(TABLES[name]), images) for name in columns], axis=1).astype(np.uint8)


def oval_matte(box: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """255 in the ellipse of a drawn donor's box."""
    matte = np.zeros((DONOR_SIDE, DONOR_SIDE), np.uint8)
    (x, y), (rx, ry) = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    cv2.ellipse(matte, (int(x), int(y)), (int(rx), int(ry)), 0, 0, 360, 255, -1)
    return matte


def encoder_tensors(seed: int = 0) -> Tensors:
    """Random weights of the encoder of surroundings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EncoderNetwork()
    return {PREFIX + name: values.numpy().astype(np.float16) for name, values in network.state_dict().items()}


def bank_bytes(tensors: Tensors) -> bytes:
    """A bank as a file, with the tables of labels."""
    notes = {
        "labels": json.dumps({column: TABLES[column] for column in LABELS}),
        "looks": json.dumps({column: TABLES[column] for column in LOOKS}),
    }
    return bytes(save(tensors, notes))


def retrieval_of(tensors: Tensors, weights: CostWeights | None = None) -> Retrieval:
    """The choice among the donors of a bank."""
    bank = DonorBank(bank_bytes(tensors))
    return Retrieval(bank, SurroundingsEncoder(bank.tensors), weights=weights or CostWeights())


def faces(count: int, seed: int = 0, shape: Shape = "face", noise: float = 0.0) -> list[Face]:
    """Faces in different surroundings, turned and of different proportions; `noise` in levels changes the surroundings."""
    made = []
    for number in range(seed, seed + count):
        rng = np.random.default_rng(number)
        pixels = scenery(120, 120, seed=number, cell_px=15).astype(np.float32)
        pixels += noise * rng.normal(size=pixels.shape).astype(np.float32)
        box = (40, 36, 40 + rng.uniform(28, 36), 36 + rng.uniform(38, 46))
        points = turned(box, rng.uniform(-25, 25))
        (region,) = regions(box, width=120, height=120, shape=shape, expansion=1.15, points=[points])
        crop = crop_of(pixels.clip(0, 255).astype(np.uint8), region)
        made.append((crop, describe(crop)))
    return made
