"""Seams and probes over the faces of an evaluation, with a feature set of one number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from anon_batch.evaluate import appearance
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.blind_sample import BlindSample
from anon_batch.geometry import regions_of
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized, Clean
from anon_batch.records import AnonymizedImage, Detections, PixelArray

LARGE, SMALL, UNSURE = (20, 20, 80, 90), (100, 20, 130, 55), (100, 80, 140, 130)


class Brightness:
    name = "brightness"

    def of(self, crop: PixelArray) -> npt.NDArray[np.float64]:
        middle = crop.shape[0] // 2
        return np.array([float(crop[middle - 3 : middle + 3, middle - 3 : middle + 3].mean())])


def found() -> Detections:
    marks = np.full((3, 5, 2), np.nan, np.float32)
    scores = np.array([0.9, 0.8, 0.2], np.float32)
    return Detections(np.array([LARGE, SMALL, UNSURE], np.float32), scores, marks, ("x",) * 3)


def image(seed: int) -> PixelArray:
    return np.random.default_rng(seed).integers(90, 150, (150, 160, 3), np.uint8)


def output(pixels: PixelArray, change: int) -> Anonymized:
    regions = tuple(regions_of(found(), 160, 150, 1.3, "ellipse"))
    changed = pixels.copy()
    for region in regions:
        x1, y1, x2, y2 = region.extent
        changed[y1:y2, x1:x2] += np.uint8(change)
    result = AnonymizedImage(changed, np.ones((150, 160), np.bool_), {region.index: "m" for region in regions})
    return Anonymized(SourceImage.from_array("x", pixels), result, found(), regions, frozenset())


def collected(images: int, blind: BlindSample | None = None) -> Appearance:
    collector = Appearance(("nothing", "brighter"), (Brightness(),), blind, 0)
    for number in range(images):
        pixels = image(number)
        outputs = {"nothing": output(pixels, 0), "brighter": output(pixels, 90)}
        collector.add("images", str(number), pixels, found(), outputs)
    return collector


def test_methods_are_measured_by_source_and_size() -> None:
    collector = collected(24)
    assert collector.too_few is None
    brighter, nothing = collector.probe("brighter")["brightness"], collector.probe("nothing")["brightness"]
    assert list(brighter) == ["all", "28 to 48 px", "from 48 px", "images"]
    assert (brighter["all"].faces, brighter["from 48 px"].faces) == (48, 24), "without unsure detections"
    assert brighter["all"].auc == 1
    assert nothing["all"].auc == pytest.approx(0.5)
    assert collector.seam("nothing").ratio == pytest.approx(1)
    assert collector.seam("brighter").faces == 48


def test_few_faces_give_no_probe_but_a_reason() -> None:
    collector = collected(3)
    assert collector.probe("brighter") == {}
    assert "6 faces of 28 px and more" in str(collector.too_few)


def test_the_number_of_faces_of_the_probe_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance, "MAX_FACES", 21)
    assert collected(24).probe("brighter")["brightness"]["all"].faces == 21


def test_images_without_an_output_or_without_anonymized_faces_are_skipped() -> None:
    collector = Appearance(("m",), (Brightness(),), BlindSample(0), 0)
    pixels = image(0)
    collector.add("images", "0", pixels, found(), {"m": None})
    collector.add("images", "1", pixels, Detections.empty(), {"m": Clean(SourceImage.from_array("x", pixels), found())})
    assert collector.seam("m").faces == 0
    assert collector.blind is not None
    assert collector.blind.faces("m") == []


def test_the_blind_sample_gets_sure_faces() -> None:
    blind = BlindSample(0)
    collected(2, blind)
    assert sorted(face.size_class for face in blind.faces("brighter")) == ["16 to 48 px"] * 2 + ["48 to 96 px"] * 2
