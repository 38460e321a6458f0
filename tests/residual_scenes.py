"""Scenes with a face that the manifest does not name, and anonymizers whose residual check looks for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from method_harness import RUNTIME

from anon_batch import Anonymizer
from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.faces.plant import Box, Planted, plant_face
from anon_batch.records import GroundTruth, PixelArray

KEY = b"k" * 32


@cache
def bank() -> DonorBank:
    return DonorBank(RUNTIME.store.load(MODEL_NAME))


def background(seed: int = 0, height: int = 150, width: int = 200) -> PixelArray:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, width)[None, :, None] + rng.normal(0, 4, (height, width, 1))
    return np.repeat(ramp.clip(0, 255), 3, axis=2).astype(np.uint8)


def scene(seed: int = 0, size_px: float = 48, **more: Any) -> Planted:
    """Return an image with one face, that of a synthetic person."""
    planted = plant_face(background(seed), seed, size_px, bank=bank(), **more)
    assert planted is not None
    return planted


def no_boxes() -> GroundTruth:
    return GroundTruth.empty()


def named(*boxes: Box, keep: bool = False) -> GroundTruth:
    n = len(boxes)
    return GroundTruth(np.array(boxes, np.float32).reshape(n, 4), np.zeros(n, np.bool_), keep=np.full(n, keep))


def anonymizer(method: str = "solid", **options: Any) -> Anonymizer:
    """Return one that anonymizes the manifest's boxes, and looks for more with CenterFace."""
    checks = {"residual": {"detectors": ["centerface"], "plant": 0, **options}}
    return Anonymizer("manifest", method, checks, key=KEY, runtime=RUNTIME)
