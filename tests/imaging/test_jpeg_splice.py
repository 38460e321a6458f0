"""The splice: untouched blocks keep every DCT coefficient, touched ones hold the anonymized pixels."""

import io
from concurrent.futures import ThreadPoolExecutor

import jpeglib
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from anon_batch.errors import FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized
from anon_batch.imaging.jpeg import coefficients as jpeg_coefficients
from anon_batch.imaging.jpeg import splice as jpeg_splice
from anon_batch.imaging.jpeg.coefficients import SpliceError, recode
from anon_batch.imaging.jpeg.markers import read_jpeg_header
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.modes import luma
from anon_batch.imaging.orientation import turn_as_stored
from anon_batch.records import AnonymizedImage

MCU = {"444": (8, 8), "422": (16, 8), "440": (8, 16), "420": (16, 16), "411": (32, 8), "Gray": (8, 8)}


def scene(width, height):
    coarse = np.random.default_rng(9).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(sampling="420", size=(101, 75), quality=85):
    pixels = scene(*size)
    if sampling == "Gray":
        grey = np.ascontiguousarray(pixels[..., :1])
        return simplejpeg.encode_jpeg(grey, quality, "GRAY", "Gray")
    return simplejpeg.encode_jpeg(pixels, quality, "RGB", sampling)


def with_pillow(**options):
    out = io.BytesIO()
    Image.fromarray(scene(101, 75)).save(out, "JPEG", **options)
    return out.getvalue()


def read(data):
    return decode("a", data)


def anonymize(image, box=(33, 20, 61, 45), colour=(20, 200, 90)):
    x1, y1, x2, y2 = box
    touched = np.zeros((image.height, image.width), np.bool_)
    touched[y1:y2, x1:x2] = True
    pixels = image.pixels.copy()
    pixels[touched] = colour
    return AnonymizedImage(pixels, touched, {0: "solid"})


def coefficients(data, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    image = jpeglib.read_dct(str(path))
    return [c for c in (image.Y, image.Cb, image.Cr) if c is not None]


def touched_blocks(touched, mcu, shape, blocks_in_mcu):
    """Bool map of the blocks of one component that lie in an MCU with a touched pixel."""
    out = np.zeros(shape, np.bool_)
    for y, x in np.argwhere(touched):
        row, column = y // mcu[1] * blocks_in_mcu[1], x // mcu[0] * blocks_in_mcu[0]
        out[row : row + blocks_in_mcu[1], column : column + blocks_in_mcu[0]] = True
    return out


def check(data, change_of=anonymize, mcu=(16, 16), tmp_path=None):
    before = read(data)
    change = change_of(before)
    out = splice(before, change)
    assert inspect(out) == []
    after = read(out)
    assert after.orientation == before.orientation
    touched = turn_as_stored(change.touched, before.orientation)
    old, new = coefficients(data, tmp_path), coefficients(out, tmp_path)
    assert len(old) == len(new)
    for index, (a, b) in enumerate(zip(old, new, strict=True)):
        header = read_jpeg_header(data).components[index]
        inside_mcu = (header.horizontal, header.vertical) if len(old) == 3 else (1, 1)
        inside = touched_blocks(touched, mcu, a.shape[:2], inside_mcu)
        np.testing.assert_array_equal(a[~inside], b[~inside])
        assert inside.any()
        assert not np.array_equal(a[inside], b[inside])
    assert read_jpeg_header(out).tables == read_jpeg_header(data).tables
    error = np.abs(luma(after.pixels).astype(int) - luma(change.pixels))[change.touched]
    assert error.mean() < 20  # colour at a fraction of the resolution is clipped in regions of a few pixels
    return before, after, change


@pytest.mark.parametrize("sampling", MCU)
@pytest.mark.parametrize("size", [(101, 75), (96, 64), (65, 49)])
def test_untouched_blocks_keep_their_coefficients(sampling, size, tmp_path):
    check(jpeg(sampling, size), mcu=MCU[sampling], tmp_path=tmp_path)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("sampling", ["420", "422"])
def test_every_orientation(value, sampling, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    data = with_pillow(exif=exif, subsampling={"420": 2, "422": 1}[sampling])
    check(data, mcu=MCU[sampling], tmp_path=tmp_path)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}])
def test_progressive_restart_and_optimised_files(options, tmp_path):
    check(with_pillow(subsampling=2, **options), tmp_path=tmp_path)


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (98, 72, 101, 75), (0, 0, 101, 75), (50, 74, 51, 75)])
@pytest.mark.parametrize("sampling", ["420", "411", "Gray"])
def test_regions_at_the_borders(box, sampling, tmp_path):
    check(jpeg(sampling), lambda image: anonymize(image, box), MCU[sampling], tmp_path)


def test_chroma_is_replaced_too(tmp_path):
    before, after, change = check(
        jpeg(), lambda image: anonymize(image, (16, 16, 80, 64), (200, 30, 30)), (16, 16), tmp_path
    )
    assert np.abs(after.pixels[20:60, 20:76].astype(int) - [200, 30, 30]).mean() < 4
    assert np.abs(before.pixels[20:60, 20:76].astype(int) - [200, 30, 30]).mean() > 20
    assert change.touched[20, 20]


def test_pixels_away_from_touched_blocks_are_identical(tmp_path):
    before, after, _ = check(jpeg(), tmp_path=tmp_path)
    far = np.ones(before.pixels.shape[:2], np.bool_)
    far[15:49, 31:65] = False  # MCUs 32..64 by 16..48, and one pixel of shared chroma
    np.testing.assert_array_equal(after.pixels[far], before.pixels[far])


def test_nothing_touched_changes_no_coefficient(tmp_path):
    data = jpeg()
    before = read(data)
    change = AnonymizedImage(before.pixels, np.zeros((75, 101), np.bool_), {})
    old, new = coefficients(data, tmp_path), coefficients(splice(before, change), tmp_path)
    for a, b in zip(old, new, strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_that_cannot_be_spliced_are_encoded_whole():
    cmyk, rgb = io.BytesIO(), io.BytesIO()
    Image.fromarray(scene(101, 75)).convert("CMYK").save(cmyk, "JPEG")
    Image.fromarray(scene(101, 75)).save(rgb, "JPEG", keep_rgb=True)
    for data in (cmyk.getvalue(), rgb.getvalue()):
        before = read(data)
        change = anonymize(before)
        with pytest.raises(SpliceError):
            splice(before, change)
        after = read(encode_anonymized(before, change).data)
        assert np.abs(after.pixels[24:41, 37:57].astype(int) - [20, 200, 90]).mean() < 12


def exchanging_others(monkeypatch, change):
    """Replace other blocks than the expected ones."""
    exchanged = jpeg_splice.replace_rows
    monkeypatch.setattr(
        jpeg_splice,
        "replace_rows",
        lambda plain, header, components, rows: exchanged(plain, header, components, change(rows)),
    )


@pytest.mark.parametrize("kept", [{0, 1, 2}, {0}, {1}, {2}, {1, 2}])
def test_a_result_that_kept_old_blocks_is_an_error(kept, monkeypatch):
    before = read(jpeg())
    exchanging_others(monkeypatch, lambda rows: {key: parts for key, parts in rows.items() if key[0] not in kept})
    with pytest.raises(SpliceError, match="touched blocks"):
        splice(before, anonymize(before))


@pytest.mark.parametrize("component", [0, 1, 2])
@pytest.mark.parametrize("sampling", ["444", "420", "411"])
def test_one_wrong_block_inside_is_an_error(component, sampling, monkeypatch):
    def spoil(rows):
        key = max(key for key in rows if key[0] == component)
        rows[key][0][1][0, 9] += 5
        return rows

    before = read(jpeg(sampling))
    exchanging_others(monkeypatch, spoil)
    with pytest.raises(SpliceError, match="touched blocks"):
        splice(before, anonymize(before))


@pytest.mark.parametrize("sampling", ["422", "420", "440", "411"])
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((97, 49), (96, 0, 97, 49)),
        ((97, 49), (0, 48, 97, 49)),
        ((98, 50), (40, 0, 98, 50)),
        ((3, 50), (0, 0, 3, 9)),
        ((4, 50), (2, 44, 4, 50)),
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_mcus_that_lie_mostly_outside_the_image_are_compared(sampling, size, box, monkeypatch):
    before = read(jpeg(sampling, size))
    change = anonymize(before, box)
    assert splice(before, change)

    def spoil_last(rows):
        last = max(key for key in rows if key[0] == 0)
        blocks = rows[last][-1][1]
        blocks[-1, 0] += 7
        return rows

    exchanging_others(monkeypatch, spoil_last)
    with pytest.raises(SpliceError, match="touched blocks"):
        splice(before, change)


@pytest.mark.parametrize("component", [0, 1, 2])
@pytest.mark.parametrize("sampling", ["444", "420", "411"])
def test_one_wrong_block_outside_is_an_error(component, sampling, monkeypatch):
    before = read(jpeg(sampling))
    empty = np.zeros((1, 64), np.int16)
    exchanging_others(monkeypatch, lambda rows: {**rows, (component, 0): [(0, empty)]})
    with pytest.raises(SpliceError, match="outside"):
        splice(before, anonymize(before))


@pytest.mark.parametrize(("value", "message"), [(0, "anonymized pixels differ"), (20_000, "8-bit samples cannot have")])
@pytest.mark.parametrize("sampling", ["444", "420", "Gray"])
def test_new_blocks_that_differ_from_the_anonymized_pixels_are_an_error(sampling, value, message, monkeypatch):
    def other(*arguments):
        luma, blocks = compute_coefficients(*arguments)
        blocks[0][0, 1] = value
        return luma, blocks

    compute_coefficients = jpeg_splice.compute_coefficients
    monkeypatch.setattr(jpeg_splice, "compute_coefficients", other)
    before = read(jpeg(sampling))
    with pytest.raises(SpliceError, match=message):
        splice(before, anonymize(before))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["444", "420", "Gray"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@example("420", 0.0, 1)
@example("420", 0.9999999, 1)
def test_a_corrupted_scan_is_an_error(sampling, position, flipped):
    before = read(jpeg(sampling, (64, 48)))
    change = anonymize(before)
    exchanged = jpeg_splice.replace_rows

    def corrupt(*arguments):
        data = bytearray(exchanged(*arguments))
        start = data.index(b"\xff\xda") + 14
        data[start + int(position * (len(data) - start))] ^= flipped
        return bytes(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg_splice, "replace_rows", corrupt)
        try:
            out = splice(before, change)
        except (SpliceError, FailedError):
            return
    np.testing.assert_array_equal(read(out).pixels, read(splice(before, change)).pixels)  # in padding, at the end


def test_a_failed_splice_still_hides_the_region(monkeypatch):
    before = read(jpeg())
    change = anonymize(before)
    exchanging_others(monkeypatch, lambda _: {})
    after = read(encode_anonymized(before, change).data)
    assert np.abs(after.pixels[24:41, 37:57].astype(int) - [20, 200, 90]).mean() < 6


@pytest.mark.parametrize("sampling", MCU)
def test_many_regions_at_once(sampling, tmp_path):
    def speckled(image):
        touched = np.random.default_rng(3).random((image.height, image.width)) < 0.004
        pixels = image.pixels.copy()
        pixels[touched] = (20, 200, 90)
        return AnonymizedImage(pixels, touched, {0: "solid"})

    data = jpeg(sampling, (301, 175))
    before = read(data)
    change = speckled(before)
    old, new = coefficients(data, tmp_path), coefficients(splice(before, change), tmp_path)
    for part, a, b in zip(read_jpeg_header(data).components, old, new, strict=True):
        sides = (part.horizontal, part.vertical) if len(old) == 3 else (1, 1)
        inside = touched_blocks(change.touched, MCU[sampling], a.shape[:2], sides)
        np.testing.assert_array_equal(a[~inside], b[~inside])
        assert 0.05 < inside.mean() < 0.95


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_recoding_keeps_pixels(mode):
    out = io.BytesIO()
    Image.fromarray(scene(50, 33)).convert(mode).save(out, "JPEG")
    np.testing.assert_array_equal(read(recode(out.getvalue())).pixels, read(out.getvalue()).pixels)


def test_threads_can_splice_at_the_same_time():
    images = [read(jpeg(sampling, size)) for sampling in MCU for size in ((101, 75), (64, 80))]
    wanted = [splice(image, anonymize(image)) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert list(pool.map(lambda image: splice(image, anonymize(image)), images)) == wanted


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_nothing_is_left_on_disk(platform, monkeypatch, tmp_path):
    monkeypatch.setattr(jpeg_coefficients.sys, "platform", platform)
    monkeypatch.setattr(jpeg_coefficients.tempfile, "tempdir", str(tmp_path))
    before = read(jpeg())
    assert inspect(splice(before, anonymize(before))) == []
    assert list(tmp_path.iterdir()) == []
