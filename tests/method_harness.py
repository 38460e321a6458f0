"""What tests of methods share: how to make one, and how to run it alone, without fallbacks and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from drawn_bodies import standing
from replacement_scenes import turned

from anon_batch import geometry, plugins
from anon_batch.anonymize.compose import compose, fault_of_patch
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.anonymize.render import Batch, render
from anon_batch.config import ModelsConfig
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import BoolArray, Detections, PixelArray, Region, Shape
from anon_batch.storage import Storage

KEY = bytes(range(32))
RUNTIME = Runtime(ModelStore(Storage(), ModelsConfig()))


@dataclass(frozen=True)
class Rendered:
    """What one method did to one image."""

    pixels: PixelArray
    touched: BoolArray
    methods: dict[int, str]
    refused: dict[int, str]


def make(name: str, **options: Any) -> Method:
    """Return a built-in method."""
    return plugins.load("methods", name, options, RUNTIME)  # type: ignore[no-any-return]


def make_detections(*boxes: Sequence[float], **more: Any) -> Detections:
    """Return detections without landmarks, with score 0.9."""
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
        **more,
    )


def make_regions(
    *boxes: Sequence[float],
    width: int,
    height: int,
    shape: Shape = "ellipse",
    expansion: float = 1.0,
    soft_edge: float = 0.0,
) -> list[Region]:
    """Return the regions of boxes, with keypoints; those of the shape `face` are turned, each by another angle."""
    found = make_detections(*boxes)
    if shape == "face":
        upright = [np.sort(np.reshape(box, (2, 2)), axis=0).ravel() for box in boxes]
        marks = np.array([turned(box, 15 - 35 * row) for row, box in enumerate(upright)], np.float32)
        found = replace(found, landmarks=marks)
    regions = geometry.regions_of(found, width, height, expansion, shape, soft_edge)
    return [replace(region, keypoints=standing(region.box)) for region in regions]


def make_ladder(*methods: Method, **how: Any) -> Ladder:
    """Return a ladder of methods for faces; the default for other labels uses the last of them."""
    first, *rest = (method.name for method in methods)
    policy = Policy({"face": Treatment(first, tuple(rest), **how)}, Treatment(methods[-1].name))
    return Ladder(policy, {method.name: method for method in methods})


def run_method(method: Method, batch: Batch, run_key: bytes = KEY) -> list[Rendered]:
    """Render and compose with one method, without fallbacks and checks."""
    return [
        _compose(method, image.pixels, list(regions), answers)
        for (image, regions), answers in zip(batch, render(method, batch, run_key), strict=True)
    ]


def make_target(pixels: PixelArray, region: Region, erase: Sequence[Region] = (), seed: int = 0) -> Target:
    """Return a target as a ladder makes it, with the masks of `erase` erased."""
    height, width = pixels.shape[:2]
    erased = geometry.union_of_masks(erase, width, height)
    shown = np.where(erased[:, :, None], np.uint8(0), pixels)
    return Target("p", region, seed, width, height, lambda: (shown, erased))


def _compose(method: Method, pixels: PixelArray, regions: list[Region], answers: Sequence[Patch | Refusal]) -> Rendered:
    patches = [(region, own) for region, own in zip(regions, answers, strict=True) if isinstance(own, Patch)]
    assert [fault_of_patch(*item) for item in patches] == [None] * len(patches)
    out, touched = compose(pixels, patches, regions, [], method.overlap)
    refused = {
        region.index: own.reason for region, own in zip(regions, answers, strict=True) if isinstance(own, Refusal)
    }
    return Rendered(out, touched, {region.index: method.name for region, _ in patches}, refused)
