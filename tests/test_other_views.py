"""Faces that only another reader shows are found and anonymized: under transparency, or in another position."""

from __future__ import annotations

import functools
import io

import cv2
import numpy as np
import oriented_files
import pytest
import transparent_files
from anonymizer_fixtures import KEY
from PIL import Image

from anon_batch import Anonymizer
from anon_batch.detect.ensemble import Ensemble
from anon_batch.detect.turn import turn_detections
from anon_batch.imaging.jpeg.markers import APP14, iter_segments
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.orientation import turn_points, turn_upright
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Withheld
from anon_batch.records import Detections

MARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class Finder:
    """Finds one face where `look` sees one: a box, or None."""

    name = "finder"
    models: tuple[str, ...] = ()
    labels = ("face",)

    def __init__(self, look):
        self.look = look

    def detect(self, images):
        return [self._found(self.look(image.pixels)) for image in images]

    def _found(self, box):
        if box is None:
            return Detections.empty()
        x1, y1, x2, y2 = box
        marks = (np.array([x1, y1]) + MARKS * (x2 - x1, y2 - y1)).astype(np.float32)[None]
        return Detections(np.array([box], np.float32), np.ones(1, np.float32), marks, ("finder",))


LOADED = functools.cache(lambda: Anonymizer("manifest", "solid", key=KEY))


def anonymizer(look):
    made = LOADED().with_key(KEY)
    made.detector = Ensemble([Finder(look)], merge_iou=0.4)
    return made


def transparent_face(pixels):
    return transparent_files.BOX if transparent_files.is_face(pixels) else None


HIDING = dict(transparent_files.hiding())


@pytest.mark.parametrize("name", HIDING)
def test_a_face_under_little_opacity_is_anonymized_for_every_reader(name):
    data = HIDING[name]
    shown = [*transparent_files.opaque_readings(data), *transparent_files.composites(data)]
    assert any(map(transparent_files.is_face, shown)), "the fixture shows a face to somebody"
    made = anonymizer(transparent_face)
    [outcome] = made([data])
    assert outcome.status == "anonymized"
    out = made.encode(outcome)
    assert not isinstance(out, Withheld)
    assert inspect(out.data) == []
    for pixels in (*transparent_files.opaque_readings(out.data), *transparent_files.composites(out.data)):
        assert not transparent_files.is_face(pixels)


CLEAR = dict(transparent_files.fully_clear())


@pytest.mark.parametrize("name", CLEAR)
def test_nothing_can_be_recovered_under_full_transparency(name):
    made = anonymizer(transparent_face)
    [outcome] = made([CLEAR[name]])
    assert outcome.status == "clean", "what is not published needs no new face"
    out = made.encode(outcome)
    assert not isinstance(out, Withheld)
    assert inspect(out.data) == []
    for pixels in transparent_files.opaque_readings(out.data):
        assert not transparent_files.is_face(pixels)


@pytest.mark.parametrize("is_inverted", [False, True])
def test_ink_is_seen_as_it_is_and_inverted_where_no_segment_of_adobe_says_which(is_inverted):
    ink = Image.fromarray(transparent_files.face()).convert("CMYK")
    data = transparent_files.file(
        Image.eval(ink, lambda value: 255 - value) if is_inverted else ink, "JPEG", quality=95
    )
    bare = b"".join(data[s.start : s.end] for s in iter_segments(data) if s.marker != APP14)
    assert len(SourceImage.open("a", data).other_views()) == (
        2 if is_inverted else 0
    )  # with black, without it and it alone
    made = anonymizer(yellow_face)
    [outcome] = made([bare])
    assert outcome.status == "anonymized"
    out = made.encode(outcome)
    assert not isinstance(out, Withheld)
    shown = Image.open(io.BytesIO(out.data))
    for reading in (shown, Image.eval(shown, lambda value: 255 - value)):
        assert yellow_face(np.asarray(reading.convert("RGB"))) is None


def yellow_face(pixels):
    """See a face only in its own colours, as a detector does."""
    x1, y1, x2, _ = transparent_files.BOX
    brow = pixels[y1 + 1 : y1 + 4, x1 + 3 : x2 - 3].mean(axis=(0, 1))
    return transparent_face(pixels) if brow[0] > 180 and brow[2] < 90 else None


def _ink(cmy, black):
    return Image.fromarray(np.dstack([cmy, black]), "CMYK")


def _stored():
    """Yield (name, file, how some reader takes it) of faces that no composed image shows."""
    face = transparent_files.face()
    grey = np.asarray(Image.fromarray(face).convert("L"))
    side = transparent_files.SIDE
    full = np.full((side, side), 255, np.uint8)
    for kind in ("TIFF", "JPEG"):
        under = transparent_files.file(_ink(255 - face, full), kind, **({"quality": 95} if kind == "JPEG" else {}))
        yield f"{kind} ink under black", under, lambda image: 255 - np.asarray(image)[..., :3]
    black = transparent_files.file(_ink(np.repeat(full[..., None], 3, axis=2), 255 - grey), "TIFF")
    yield "TIFF black over ink", black, lambda image: np.asarray(image)[..., [3, 3, 3]]
    indices = Image.fromarray(grey, "P")
    indices.putpalette([128] * 768)
    for kind in ("PNG", "BMP"):
        yield (
            f"{kind} indices",
            transparent_files.file(indices, kind),
            lambda image: np.asarray(image)[..., None].repeat(3, 2),
        )
    rng = np.random.default_rng(5)
    high = rng.integers(0, 255, grey.shape, np.uint16) << 8
    for kind in (".png", ".tif"):
        low = cv2.imencode(kind, high | grey)[1].tobytes()
        yield f"low byte {kind}", low, lambda image: np.asarray(image).astype(np.uint8)[..., None].repeat(3, 2)
    faint = np.dstack([np.full((side, side, 3), 30000, np.uint16), 0xFF00 | grey.astype(np.uint16)])
    yield "low byte of alpha", cv2.imencode(".png", faint)[1].tobytes(), None


STORED = {name: (data, read) for name, data, read in _stored()}


@pytest.mark.parametrize("name", STORED)
def test_a_face_in_the_samples_as_stored_is_anonymized(name):
    data, read = STORED[name]

    def shown(data):
        if read is None:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., [3, 3, 3]].astype(np.uint8)
        return read(Image.open(io.BytesIO(data)))

    assert transparent_files.is_face(shown(data)), "the fixture shows a face to somebody"
    made = anonymizer(transparent_face)
    [outcome] = made([data])
    assert outcome.status == "anonymized"
    out = made.encode(outcome)
    assert not isinstance(out, Withheld)
    assert not transparent_files.is_face(shown(out.data))


def test_an_opaque_image_is_searched_once():
    calls = []

    def look(pixels):
        calls.append(pixels)

    opaque = [transparent_files.file(transparent_files.rgba(255), kind) for kind in ("PNG", "TIFF")]
    opaque += [oriented_files.jpeg(oriented_files.exif(oriented_files.tiff(6, order=">")))]
    assert [outcome.status for outcome in anonymizer(look)(opaque)] == ["clean"] * 3
    assert len(calls) == 3


ORIENTED = {name: data for name, _, data in oriented_files.stated() if "GIF" not in name and "count 3" not in name}


def standing(position):
    """See the mark only where the image stands in one position, as a detector sees faces that stand upright."""

    def look(pixels):
        if oriented_files.position(pixels) != position:
            return None
        rows, columns = np.nonzero(pixels[..., 0] > 150)
        return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1

    return look


@pytest.mark.parametrize("name", ORIENTED)
def test_a_face_that_stands_upright_for_any_reader_is_anonymized(name):
    data = ORIENTED[name]
    positions = {oriented_files.position(oriented_files.pillow(data))}
    if "irot" not in name:
        positions.add(oriented_files.position(oriented_files.opencv(data)))
    for position in sorted(positions):
        made = anonymizer(standing(position))
        [outcome] = made([data])
        assert outcome.status == "anonymized", position
        out = made.encode(outcome)
        assert not isinstance(out, Withheld)
        for pixels in (oriented_files.pillow(out.data), oriented_files.opencv(out.data)):
            assert (pixels[..., 0] > 150).mean() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_turn_as_pixels_do(orientation):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[4, 7] = 255
    [[row, column]] = np.argwhere(turn_upright(pixels, orientation))
    np.testing.assert_allclose(turn_points(np.array([7.5, 4.5]), 30, 20, orientation), [column + 0.5, row + 0.5])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_detections_turn_with_their_image(orientation):
    [found] = Finder(lambda pixels: (3, 5, 11, 17)).detect([type("Shown", (), {"pixels": None})])
    turned = turn_detections(found, 30, 20, orientation)
    x1, y1, x2, y2 = turned.boxes[0]
    inside = np.zeros((20, 30), np.uint8)
    inside[5:17, 3:11] = 1
    rows, columns = np.nonzero(turn_upright(inside, orientation))
    assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    eyes = turned.landmarks[0, :2]
    nose, mouth = turned.landmarks[0, 2], turned.landmarks[0, 3:].mean(axis=0)
    down, across = mouth - eyes.mean(axis=0), eyes[1] - eyes[0]
    assert across[0] * down[1] - across[1] * down[0] > 0, "the right eye stays right of the face's own axis"
    assert np.linalg.norm(nose - turned.boxes[0].reshape(2, 2).mean(axis=0)) < 2
