"""Moments of several recognisers' features, with a recogniser that looks at one pixel."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from anon_batch.evaluate.landmarks import LandmarkErrors
from anon_batch.evaluate.single_faces import FaceMoments, SingleFaceMeasures
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject
from anon_batch.imaging.source import SourceImage
from anon_batch.recognition.embedder import Embedder, Face, aligned
from anon_batch.records import Detections, FloatArray

MARKS = np.array([[[40, 40], [60, 40], [50, 52], [42, 65], [58, 65]]], np.float32)


class Colour:
    dimensions = 3

    def __init__(self, name: str) -> None:
        self.name = name

    def embed(self, faces: list[Face]) -> FloatArray:
        return np.array([aligned(face)[56, 56] / 255 for face in faces], np.float32).reshape(-1, 3)


def subject(pixel: tuple[int, ...]) -> Subject:
    pixels = np.zeros((100, 100, 3), np.uint8) + np.array(pixel, np.uint8)
    boxes = np.array([[30, 25, 70, 75]], np.float32)
    return Subject(SourceImage.from_array("x", pixels), Detections(boxes, np.ones(1, np.float32), MARKS, ("x",)))


def moments(name: str, faces: int) -> FaceMoments:
    method = cast(EvaluatedMethod, type("M", (), {"name": "m"})())
    own = FaceMoments.empty(cast(Embedder, Colour(name)), [method])
    colours = np.random.default_rng(0).integers(0, 200, (faces, 3))
    for start in range(0, faces, 4):
        batch = [subject(tuple(colour)) for colour in colours[start : start + 4]]
        own.add_originals(batch)
        own.outputs["m"].add(own.embedder.embed([Face(one.pixels + np.uint8(51), one.landmarks) for one in batch]))
    return own


def test_each_recogniser_has_a_distance_of_its_own_unless_faces_are_too_few() -> None:
    many, few = moments("many", 40), moments("few", 5)
    measures = SingleFaceMeasures((many, few), cast(Any, None), {}, {"m": {"d": LandmarkErrors()}})
    assert list(measures.frechet("m")) == ["many"]
    distance = measures.frechet("m")["many"]
    assert distance.distance == pytest.approx(3 * 0.2**2, abs=1e-3)
    assert (distance.samples, distance.dimensions) == (40, 3)
    assert distance.name == "Frechet distance on many features"
    assert measures.too_few() == "5 faces; features of 3 dimensions (few) need at least 6"


def test_halves_of_the_originals_alternate_over_batches() -> None:
    own = moments("many", 40)
    assert [half.count for half in own.halves] == [20, 20]
    between = own.frechet(None)
    assert between is not None
    assert between.samples == 20
    assert between.distance > 0
