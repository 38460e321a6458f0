"""Ask a method for patches: make targets of regions, with erased masks where the method must not look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import cast

import numpy as np

from anon_batch import keys
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.geometry import union_of_masks
from anon_batch.records import BoolArray, DecodedImage, PixelArray, Region

Batch = Sequence[tuple[DecodedImage, Sequence[Region]]]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image for one call of a method.

    Args:
        image_id: of the image.
        pixels: (H, W, 3) uint8, the image as composed so far, read-only.
        erased: regions whose masks the method must not see.
        regions: what to render.
    """

    image_id: str
    pixels: PixelArray
    erased: Sequence[Region]
    regions: Sequence[Region]


def render(method: Method, batch: Batch, run_key: bytes) -> list[list[Patch | Refusal]]:
    """Return what a method alone renders for every region of every image, without composing or checking it.

    Raises:
        ValueError: the method returns too few or too many patches.
        Exception: whatever the method raises.
    """
    scenes = [
        Scene(image.image_id, image.pixels, () if method.sees_original else regions, regions)
        for image, regions in batch
    ]
    return [cast(list[Patch | Refusal], answers) for answers in render_scenes(method, scenes, run_key)]


def render_scenes(method: Method, scenes: Sequence[Scene], run_key: bytes) -> list[list[object]]:
    """Return a method's answers, one list for each scene and one answer for each of its regions.

    What the answers are is not checked: a method may return anything.

    Raises:
        ValueError: the method returns too few or too many answers.
        Exception: whatever the method raises.
    """
    views = _Views(scenes)
    targets = [
        _make_target(scene, region, views, position, run_key)
        for position, scene in enumerate(scenes)
        for region in scene.regions
    ]
    answers: list[object] = list(islice(method.render(targets), len(targets) + 1))  # because a generator may never end
    if len(answers) != len(targets):
        count = f"more than {len(targets)}" if len(answers) > len(targets) else f"{len(answers)}"
        raise ValueError(f"rendered {count} patches for {len(targets)} targets")
    rest = iter(answers)
    return [[next(rest) for _ in scene.regions] for scene in scenes]


class _Views:
    """The arrays that targets show.

    Only those of the last scene are kept, because a batch may hold many large images and methods take the targets in order.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        self._last: tuple[int, tuple[PixelArray, BoolArray]] | None = None

    def view(self, position: int) -> tuple[PixelArray, BoolArray]:
        """Return pixels and erased mask of a scene, read-only."""
        last = self._last
        if last is not None and last[0] == position:
            return last[1]
        scene = self._scenes[position]
        height, width = scene.pixels.shape[:2]
        if scene.erased:
            erased = union_of_masks(scene.erased, width, height)
            pixels = np.where(erased[:, :, None], np.uint8(0), scene.pixels)
        else:
            pixels, erased = scene.pixels.view(), np.broadcast_to(np.False_, (height, width))
        pixels.flags.writeable = False
        erased.flags.writeable = False
        self._last = (position, (pixels, erased))
        return pixels, erased


def _make_target(scene: Scene, region: Region, views: _Views, position: int, run_key: bytes) -> Target:
    height, width = scene.pixels.shape[:2]
    seed = keys.seed(run_key, scene.image_id, region.subject)
    return Target(scene.image_id, region, seed, width, height, partial(views.view, position))
