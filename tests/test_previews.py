"""Detectors that see a downscaled preview: what is written is the whole image, and no damaged file counts as clean."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from anonymizer_fixtures import KEY, pixels_of
from PIL import Image

from anon_batch import Anonymized, Anonymizer, Withheld
from anon_batch.detect.ensemble import Ensemble
from anon_batch.errors import FailedError
from anon_batch.imaging import source as source_module
from anon_batch.imaging.orientation import orientation_exif
from anon_batch.outcomes import Outcome
from anon_batch.records import DecodedImage, Detections, EncodedImage, Preview

FACE = (200, 120, 280, 200)  # xyxy of the red square of the upright image
SIZE = (640, 480)


class FindsRed:
    """Finds one box around what is red in the pixels it is given; notes their sizes."""

    name = "red"
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        return [self._find(image) for image in images]

    def _find(self, image: Preview) -> Detections:
        self.seen.append((image.width, image.height))
        y, x = np.nonzero((image.pixels[..., 0] > 180) & (image.pixels[..., 1] < 80))
        if not len(x):
            return Detections.empty()
        box = np.asarray([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("red",))


def image_file(face: bool = True, orientation: int = 1, kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(1).integers(60, 120, (15, 20, 3), dtype=np.uint8)
    pixels = cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
    if face:
        pixels[FACE[1] : FACE[3], FACE[0] : FACE[2]] = [255, 0, 0]
    if orientation == 6:  # stored a quarter turn counter-clockwise
        pixels = np.ascontiguousarray(np.rot90(pixels))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, kind, exif=b"Exif\0\0" + orientation_exif(orientation), **({"quality": 95} if kind == "JPEG" else {})
    )
    return buffer.getvalue()


def run(
    data: bytes, max_side_px: int | None, finder: FindsRed | None = None, **write: Any
) -> tuple[Outcome, EncodedImage | Withheld]:
    made = Anonymizer({"detectors": ["manifest"], "max_side_px": max_side_px}, "solid", write=write, key=KEY)
    made.detector = Ensemble([finder or FindsRed()], 0.4, 0, max_side_px)
    [outcome] = made([data])
    return outcome, outcome if isinstance(outcome, Withheld) else made.encode(outcome)


def written(encoded: EncodedImage | Withheld) -> bytes:
    assert isinstance(encoded, EncodedImage)
    return encoded.data


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_face_found_in_the_preview_is_anonymized_in_the_whole_image(kind: str, orientation: int) -> None:
    finder = FindsRed()
    outcome, encoded = run(image_file(kind=kind, orientation=orientation), 160, finder)
    assert finder.seen == [(160, 120)]
    assert isinstance(outcome, Anonymized)
    assert (outcome.source.width, outcome.source.height) == SIZE
    np.testing.assert_allclose(outcome.detections.boxes, [FACE], atol=4.01)
    shown = source_module.SourceImage.open("a", written(encoded)).decode()
    assert (shown.width, shown.height) == SIZE
    x1, y1, x2, y2 = FACE
    assert shown.pixels[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].max() < 8


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_clean_jpeg_is_stripped_without_a_second_decoding(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = image_file(face=False, orientation=orientation)
    _, whole = run(data, None)
    monkeypatch.setattr(source_module, "decode_after_header", lambda *_: pytest.fail("decoded the whole image"))
    outcome, encoded = run(data, 160)
    assert outcome.status == "clean"
    assert written(encoded) == written(whole)
    assert isinstance(encoded, EncodedImage)
    assert (encoded.width, encoded.height) == SIZE


@pytest.mark.parametrize("write", [{"format": "png"}, {"quality": 80}])
def test_a_clean_jpeg_that_is_encoded_again_is_written_whole(write: dict[str, Any]) -> None:
    data = image_file(face=False)
    assert written(run(data, 160, **write)[1]) == written(run(data, None, **write)[1])
    assert pixels_of(written(run(data, 160, **write)[1])).shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize("write", [{}, {"format": "png"}])
@pytest.mark.parametrize("face", [True, False])
def test_an_image_that_only_the_preview_can_decode_fails(
    face: bool, write: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> DecodedImage:
        raise FailedError("truncated", "ends early")

    monkeypatch.setattr(source_module, "decode_after_header", broken)
    _, encoded = run(image_file(face=face), 160, **write)
    if face or write:
        assert isinstance(encoded, Withheld)
        assert (encoded.status, encoded.reason) == ("failed", "truncated")
    else:
        assert isinstance(encoded, EncodedImage), "needs no second decoding"


@pytest.mark.parametrize("face", [True, False])
@pytest.mark.parametrize("at", [0.4, 0.7, 0.97])
def test_a_file_that_ends_early_fails_with_or_without_a_face(face: bool, at: float) -> None:
    data = image_file(face=face)
    _, encoded = run(data[: int(len(data) * at)] + b"\xff\xd9", 160)
    assert isinstance(encoded, Withheld)
    assert (encoded.status, encoded.reason) == ("failed", "truncated")


def test_a_detector_that_fails_on_the_preview_withholds_the_image() -> None:
    class Breaks(FindsRed):
        def detect(self, images: Sequence[Preview]) -> list[Detections]:
            raise RuntimeError("broke")

    _, encoded = run(image_file(), 160, Breaks())
    assert isinstance(encoded, Withheld)
    assert (encoded.status, encoded.reason) == ("withheld", "detect")
