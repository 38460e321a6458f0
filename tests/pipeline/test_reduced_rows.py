"""Detectors that see less than the whole picture: what is written is whole, and nothing broken passes for clean."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from method_harness import RUNTIME
from PIL import Image
from pipeline_fixtures import job

from anon_batch.anonymize.ladder import build_ladder
from anon_batch.detect.ensemble import Ensemble
from anon_batch.errors import FailedError
from anon_batch.imaging import source as source_module
from anon_batch.imaging.decode import decode
from anon_batch.imaging.metadata.orientation import orientation_exif
from anon_batch.pipeline.stages import FinishedRow, RowStages
from anon_batch.pipeline.writers import ImageLocation
from anon_batch.records import DecodedImage, Detections, EncodedImage, ManifestRow, Preview

FACE = (200, 120, 280, 200)  # xyxy of the red square of the upright picture
SIZE = (640, 480)


class Source:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, row: ManifestRow, max_bytes: int) -> bytes:
        return self.data


class SinkOfDict:
    def __init__(self) -> None:
        self.images: dict[str, EncodedImage] = {}

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        self.images[row.image_id] = image
        return ImageLocation(f"images/{row.image_id}", None)

    def close(self) -> str:
        return ""


class FindsRed:
    """One box around what is red in the pixels it is given; notes their sizes."""

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


def picture(face: bool = True, orientation: int = 1, kind: str = "JPEG") -> bytes:
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


def fate(
    data: bytes, max_side_px: int | None, finder: FindsRed | None = None, **keys: Any
) -> tuple[FinishedRow, SinkOfDict]:
    config, sink = job("memory://unused", **{"detect__max_side_px": max_side_px, **keys}), SinkOfDict()
    detector = Ensemble([finder or FindsRed()], 0.4, config.detect.min_side_px, max_side_px)
    ladder = build_ladder(config.anonymize, RUNTIME)
    stages = RowStages(config, b"k" * 32, detector, ladder, Source(data), sink, last_chance=False)
    [encode] = stages.treat([stages.decode(stages.read(ManifestRow(0, "a", "u")))])
    return encode()(), sink


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_face_found_in_the_small_is_treated_in_the_whole_picture(kind: str, orientation: int) -> None:
    finder = FindsRed()
    row, sink = fate(picture(kind=kind, orientation=orientation), 160, finder)
    assert finder.seen == [(160, 120)]
    assert row.provenance.status == "anonymized"
    assert (row.provenance.width, row.provenance.height) == SIZE
    assert row.detections is not None
    np.testing.assert_allclose(row.detections.boxes, [FACE], atol=4.01)
    shown = decode("a", sink.images["a"].data)
    assert (shown.width, shown.height) == SIZE
    x1, y1, x2, y2 = FACE
    assert shown.pixels[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].max() < 8


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_clean_jpeg_is_stripped_without_being_decoded_again(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(face=False, orientation=orientation)
    plain, plain_sink = fate(data, None)
    monkeypatch.setattr(source_module, "decode_after_header", lambda *_: pytest.fail("decoded the whole image"))
    row, sink = fate(data, 160)
    assert row.provenance == plain.provenance
    assert row.provenance.status == "clean"
    assert sink.images["a"].data == plain_sink.images["a"].data
    assert (sink.images["a"].width, sink.images["a"].height) == SIZE


@pytest.mark.parametrize("keys", [{"write__format": "png"}, {"write__quality": 80}])
def test_a_clean_jpeg_that_is_to_be_written_anew_is_written_whole(keys: dict[str, Any]) -> None:
    data = picture(face=False)
    plain, _ = fate(data, None, **keys)
    row, sink = fate(data, 160, **keys)
    assert row.provenance == plain.provenance
    with Image.open(io.BytesIO(sink.images["a"].data)) as written:
        assert written.size == SIZE


@pytest.mark.parametrize("keys", [{}, {"write__format": "png"}])
@pytest.mark.parametrize("face", [True, False])
def test_what_only_a_small_decoding_can_read_ends_as_failed(
    face: bool, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> DecodedImage:
        raise FailedError("truncated", "ends early")

    monkeypatch.setattr(source_module, "decode_after_header", broken)
    row, sink = fate(picture(face=face), 160, **keys)
    if face or keys:
        assert (row.provenance.status, row.provenance.reason) == ("failed", "truncated")
        assert not sink.images
    else:
        assert row.provenance.status == "clean", "needs no second decoding"


@pytest.mark.parametrize("face", [True, False])
@pytest.mark.parametrize("at", [0.4, 0.7, 0.97])
def test_a_file_that_ends_early_fails_whether_it_has_a_face_or_not(face: bool, at: float) -> None:
    data = picture(face=face)
    row, sink = fate(data[: int(len(data) * at)] + b"\xff\xd9", 160)
    assert (row.provenance.status, row.provenance.reason) == ("failed", "truncated")
    assert not sink.images


def test_a_detector_that_fails_on_the_small_picture_withholds_it() -> None:
    class Breaks(FindsRed):
        def detect(self, images: Sequence[Preview]) -> list[Detections]:
            raise RuntimeError("broke")

    row, sink = fate(picture(), 160, Breaks())
    assert (row.provenance.status, row.provenance.reason) == ("withheld", "detect")
    assert not sink.images
