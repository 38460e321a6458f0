"""What regions of a JPEG showed comes back exactly: all of them give the source's coefficients, one gives its own MCUs alone."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anon_batch.imaging.encode import encode_anonymized
from anon_batch.imaging.jpeg.changed_blocks import UnsealableError, pack_regions, read_coefficients, restore_regions
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage, RegionRecord

Box = tuple[int, int, int, int]
BOXES: tuple[Box, ...] = ((5, 9, 30, 37), (60, 20, 99, 66), (28, 30, 70, 50))  # the last one overlaps both


def jpeg(width: int, height: int, seed: int = 0, orientation: int = 1, mode: str = "RGB", **options: Any) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8))
    image = small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 88, "exif": exif, **options})
    return buffer.getvalue()


def anonymize(data: bytes, boxes: tuple[Box, ...]) -> tuple[bytes, list[RegionRecord], int]:
    """Return the output with black boxes, in pixels of the upright image."""
    source = SourceImage.open("a.jpg", data)
    decoded = source.decode()
    pixels, touched = decoded.pixels.copy(), np.zeros(decoded.pixels.shape[:2], np.bool_)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = 0
        touched[y1:y2, x1:x2] = True
    encoded = encode_anonymized(decoded, AnonymizedImage(pixels, touched, {}))
    assert encoded.format == "JPEG"
    return encoded.data, [RegionRecord(*box, "face", "solid", synthetic=False) for box in boxes], source.orientation


def equal(one: bytes, other: bytes) -> bool:
    return all(map(np.array_equal, read_coefficients(one), read_coefficients(other)))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("size", [(112, 80), (113, 81), (107, 73)])
@pytest.mark.parametrize("progressive", [False, True])
def test_all_regions_give_the_coefficients_of_the_source(
    subsampling: str, size: tuple[int, int], progressive: bool
) -> None:
    data = jpeg(*size, subsampling=subsampling, progressive=progressive)
    output, regions, orientation = anonymize(data, BOXES)
    packed = pack_regions(data, output, regions, orientation)
    restored = restore_regions(output, packed, orientation)
    assert not equal(data, output)
    assert equal(data, restored)
    shown, wanted = (np.asarray(Image.open(io.BytesIO(own)).convert("RGB")) for own in (restored, data))
    assert np.array_equal(shown, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation: int) -> None:
    data = jpeg(113, 97, orientation=orientation)
    boxes = tuple(box for box in BOXES if box[2] <= 97)[:2]
    output, regions, own = anonymize(data, boxes)
    assert own == orientation
    packed = pack_regions(data, output, regions, orientation)
    assert equal(data, restore_regions(output, packed, orientation))
    # What one region gives back lies in its own box, as a viewer shows the image.
    one = restore_regions(output, packed[:1], orientation)
    assert SourceImage.open("a", one).orientation == orientation
    changed = (SourceImage.open("a", one).decode().pixels != SourceImage.open("a", output).decode().pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    x1, y1, x2, y2 = boxes[0]
    assert x1 - 16 <= columns.min() <= columns.max() < x2 + 16
    assert y1 - 16 <= rows.min() <= rows.max() < y2 + 16


def test_grey_images_and_lone_samplings() -> None:
    for data in (jpeg(112, 80, mode="L"), jpeg(91, 83, mode="L", progressive=True)):
        output, regions, orientation = anonymize(data, BOXES[:1])
        assert equal(data, restore_regions(output, pack_regions(data, output, regions, orientation), orientation))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_regions_share_no_mcu(subsampling: str) -> None:
    data = jpeg(130, 90, subsampling=subsampling)
    output, regions, orientation = anonymize(data, BOXES)
    packed = pack_regions(data, output, regions, orientation)
    before = read_coefficients(output)
    changed = []
    for own in packed:
        after = read_coefficients(restore_regions(output, [own], orientation))
        changed.append([(a != b).any(axis=2) for a, b in zip(before, after, strict=True)])
    for one, other in itertools.combinations(changed, 2):
        assert not any((a & b).any() for a, b in zip(one, other, strict=True))
    for order in itertools.permutations(packed):
        assert equal(data, restore_regions(output, order, orientation))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_face_inside_a_person_comes_back_whole(order: slice) -> None:
    data = jpeg(160, 240, subsampling="4:4:4")
    boxes = ((60, 30, 100, 80), (10, 20, 150, 230))  # the face is far from the person's middle
    output, regions, orientation = anonymize(data, boxes[order])
    face = pack_regions(data, output, regions, orientation)[order][0]
    original, shown = (
        SourceImage.open("a", own).decode().pixels for own in (data, restore_regions(output, [face], orientation))
    )
    y, x = np.mgrid[30:80, 60:100] + 0.5
    ellipse = ((x - 80) / 20) ** 2 + ((y - 55) / 25) ** 2 < 0.6  # an MCU at the border may be the person's
    assert np.array_equal(shown[30:80, 60:100][ellipse], original[30:80, 60:100][ellipse])
    assert not shown[120:220, 20:140].any()


def test_of_equal_regions_the_second_has_an_empty_record() -> None:
    data = jpeg(112, 80)
    output, regions, orientation = anonymize(data, ((8, 8, 100, 70), (8, 8, 100, 70)))
    packed = pack_regions(data, output, regions, orientation)
    assert equal(restore_regions(output, packed[1:], orientation), output)
    assert equal(restore_regions(output, packed, orientation), data)


def test_files_that_differ_in_more_than_blocks_are_refused() -> None:
    data = jpeg(112, 80)
    output, regions, orientation = anonymize(data, BOXES)
    for other in (jpeg(112, 80, quality=60), jpeg(113, 80), jpeg(112, 80, mode="L"), b"", data[:300], b"no image"):
        with pytest.raises(UnsealableError):
            pack_regions(other, output, regions, orientation)
    png = io.BytesIO()
    Image.new("RGB", (112, 80)).save(png, "PNG")
    with pytest.raises(UnsealableError):
        pack_regions(data, png.getvalue(), regions, orientation)


def test_what_belongs_to_another_output_or_is_damaged_is_refused() -> None:
    data, other = jpeg(112, 80), jpeg(160, 160)
    output, regions, orientation = anonymize(data, BOXES)
    packed = pack_regions(data, output, regions, orientation)
    with pytest.raises(UnsealableError):
        restore_regions(other, packed, orientation)
    for damaged in (b"", packed[0][:-3], packed[0][:10], b"\x00" * 40):
        with pytest.raises(UnsealableError):
            restore_regions(output, [damaged], orientation)
