from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anon_batch.config import LimitsConfig, WriteConfig
from anon_batch.errors import FailedError, WithheldError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.downscaled import decode_reduced, reduce, reduced_size
from anon_batch.imaging.encode import encode_anonymized, encode_clean, keep_clean
from anon_batch.imaging.metadata.orientation import orientation_exif
from anon_batch.records import AnonymizedImage, GroundTruth

LIMITS = LimitsConfig(max_pixels=500_000)


def smooth(width=402, height=301, seed=1):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(pixels=None, mode="RGB", orientation=1, **options):
    out = io.BytesIO()
    exif = b"Exif\0\0" + orientation_exif(orientation)
    Image.fromarray(smooth() if pixels is None else pixels).convert(mode).save(out, "JPEG", exif=exif, **options)
    return out.getvalue()


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((400, 300), (100, 75)),
        ((300, 400), (75, 100)),
        ((100, 100), (100, 100)),
        ((101, 1), (100, 1)),
        ((4000, 1), (100, 1)),
    ],
)
def test_the_longer_side_is_brought_down(size, reduced):
    assert reduced_size(*size, 100) == reduced


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}, {"keep_rgb": True}]
)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side_px", [200, 150, 64])
def test_it_shows_the_upright_picture_that_decode_gives(options, orientation, max_side_px):
    data, truth = jpeg(orientation=orientation, quality=95, **options), GroundTruth.empty()
    seen, whole = decode_reduced("a", data, LIMITS, truth, max_side_px), decode("a", data, LIMITS, truth)
    assert seen.reduced_from == seen.whole_size == (whole.width, whole.height)
    assert (seen.width, seen.height) == reduced_size(whole.width, whole.height, max_side_px)
    assert (seen.orientation, seen.format, seen.given) == (orientation, "JPEG", truth)
    expected = reduce(whole, max_side_px)
    assert expected.whole_size == seen.whole_size
    assert np.abs(seen.pixels.astype(int) - expected.pixels).mean() < 5


@pytest.mark.parametrize(
    "data",
    [
        jpeg(mode="L"),
        jpeg(mode="CMYK"),
        png(smooth()),
        jpeg(smooth(150, 100)),
    ],
    ids=["grey", "CMYK", "PNG", "less than twice as long"],
)
def test_all_else_is_decoded_as_a_whole(data):
    seen, whole = decode_reduced("a", data, LIMITS, None, 100), decode("a", data, LIMITS, None)
    assert seen.reduced_from is None
    assert seen.native_mode == whole.native_mode
    np.testing.assert_array_equal(seen.pixels, whole.pixels)


def test_the_limits_are_those_of_the_whole_picture():
    with pytest.raises(FailedError, match="too_many_pixels"):
        decode_reduced("a", jpeg(), LimitsConfig(max_pixels=402 * 301 - 1), None, 64)
    with pytest.raises(FailedError, match="too_many_bytes"):
        decode_reduced("a", jpeg(), LimitsConfig(max_bytes=100), None, 64)


FILES = [
    jpeg(),
    jpeg(progressive=True),
    jpeg(subsampling=0),
    jpeg(restart_marker_blocks=4),
    jpeg(quality=20, optimize=True),
]


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(2, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        start = draw(st.integers(2, len(data)))
        del data[start : start + draw(st.integers(1, 3000))]
    if draw(st.booleans()):
        data += b"\xff\xd9"
    return bytes(data)


def _outcome(decoding):
    try:
        return decoding().whole_size
    except FailedError as exc:
        return exc.reason


@settings(max_examples=400, deadline=None)
@given(damaged(), st.sampled_from([200, 100, 64, 50]))
def test_a_damaged_file_ends_as_it_does_when_all_of_it_is_decoded(data, max_side_px):
    whole = _outcome(lambda: decode("a", data, LIMITS))
    assert _outcome(lambda: decode_reduced("a", data, LIMITS, None, max_side_px)) == whole


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9, 0.99])
def test_a_file_that_ends_early_is_truncated_though_its_end_marker_is_there(at):
    data = jpeg()
    with pytest.raises(FailedError, match="truncated"):
        decode_reduced("a", data[: int(len(data) * at)] + b"\xff\xd9", LIMITS, None, 50)


def test_a_reduced_picture_can_be_stripped_but_never_written():
    data = jpeg(orientation=6)
    seen, whole = decode_reduced("a", data, LIMITS, None, 64), decode("a", data, LIMITS)
    kept = keep_clean(seen, WriteConfig())
    assert kept is not None
    assert kept.data == encode_clean(whole, WriteConfig()).data
    assert (kept.width, kept.height) == (301, 402)
    for write in (WriteConfig(format="png"), WriteConfig(quality=80)):
        assert keep_clean(seen, write) is None
        with pytest.raises(WithheldError, match="cannot be written"):
            encode_clean(seen, write)
    for write in (WriteConfig(), WriteConfig(format="png")):
        touched = np.ones(seen.pixels.shape[:2], np.bool_)
        with pytest.raises(WithheldError, match="cannot be written"):
            encode_anonymized(seen, AnonymizedImage(seen.pixels.copy(), touched, {0: "solid"}), write)
