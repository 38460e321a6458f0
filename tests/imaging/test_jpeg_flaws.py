"""JPEGs with flaws that other readers forgive are read, and nothing of the flaw is written; incomplete ones fail."""

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from anon_batch.errors import FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.jpeg.coefficients import block_dims, write_blocks
from anon_batch.imaging.jpeg.markers import DHT, DQT, SOF, SOS, iter_segments, read_jpeg_header
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage

SECRET = b"SECRET-BYTES"
KINDS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True},
}


def photo(mode="RGB", size=(160, 112)):
    coarse = np.random.default_rng(4).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def file(mode="RGB", **options):
    out = io.BytesIO()
    photo(mode).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def after(data, marker, added):
    """Insert bytes behind every segment with a marker."""
    out, at = b"", 0
    for segment in iter_segments(data):
        if segment.marker in marker:
            out += data[at : segment.end] + added
            at = segment.end
    return out + data[at:]


def without(data, marker):
    """Drop the segments with a marker."""
    return b"".join(data[s.start : s.end] for s in iter_segments(data) if s.marker not in marker)


def segment(marker, body):
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def second_scan(data):
    return [s.start for s in iter_segments(data) if s.marker == SOS][1]


EXTRANEOUS = {
    "text": SECRET,
    "zeros": bytes(9),
    "stuffed": b"\xff\x00" + SECRET,
    "a restart marker": b"\xff\xd3" + SECRET,
    "TEM": b"\xff\x01",
    "fill bytes": b"\xff" * 7,
    "an unknown segment": segment(0xE7, SECRET),
}
BEHIND = {
    "nothing": b"",
    "one FF": b"\xff",
    "zeros": bytes(600),
    "text": SECRET * 9,
    "half a segment": segment(0xE5, SECRET * 9)[:40],
    "another image": file(),
    "a table": segment(DQT, b"\0" + SECRET * 6),
}


def check(data, whole, *, mode="RGB"):
    """The flawed file gives the pixels of the whole one, in both kinds of output, without the flaw."""
    wanted = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    source = SourceImage.open("a", data)
    seen = source.preview(40).pixels.astype(int) - SourceImage.open("a", whole).preview(40).pixels
    assert np.abs(seen).mean() < 4  # one may be decoded at half its size, the other not
    np.testing.assert_array_equal(source.decode().pixels, wanted)
    out = encode_clean(SourceImage.open("a", data))
    touched = np.zeros(wanted.shape[:2], np.bool_)
    touched[20:60, 30:90] = True
    changed = np.where(touched[..., None], np.uint8(90), wanted)
    spliced = encode_anonymized(source.decode(), AnonymizedImage(changed, touched, {0: "solid"}))
    for coded in (out.data, spliced.data):
        assert inspect(coded) == []
        assert SECRET not in coded
        assert coded.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(out.data)).convert("RGB")), wanted)
    again = np.asarray(Image.open(io.BytesIO(spliced.data)).convert("RGB"))
    assert np.abs(again[30:50, 40:80].astype(int) - 90).max() < 12
    far = np.ones(touched.shape, np.bool_)
    far[:80, 8:112] = False
    if mode == "RGB":
        np.testing.assert_array_equal(again[far], wanted[far])


def reason(data):
    with pytest.raises(FailedError) as caught:
        decode("a", data)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extraneous", EXTRANEOUS)
def test_extraneous_bytes_between_segments_are_dropped(kind, extraneous):
    whole = file(**KINDS[kind])
    places = {DQT, DHT, 0xE0, *SOF}
    check(after(whole, places, EXTRANEOUS[extraneous]), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behind", BEHIND)
def test_a_missing_end_marker_is_added(kind, behind):
    whole = file(**KINDS[kind])
    check(whole[:-2] + BEHIND[behind], whole)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_without_an_end_marker(mode):
    whole = file(mode)
    check(whole[:-2], whole, mode=mode)


@pytest.mark.parametrize("behind", BEHIND)
def test_what_lies_behind_the_end_is_dropped(behind):
    whole = file()
    check(whole + BEHIND[behind], whole)


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_segments_between_the_last_scan_and_the_end_are_dropped(kind):
    whole = file(**KINDS[kind])
    for added in (segment(DHT, b"\x13" + SECRET.ljust(16)), segment(0xDC, b"\x00\x70"), segment(0xFE, SECRET)):
        check(whole[:-2] + added + whole[-2:], whole)


def test_tables_twice_or_before_their_time_do_not_matter():
    whole = file()
    tables = b"".join(whole[s.start : s.end] for s in iter_segments(whole) if s.marker in (DQT, DHT))
    check(whole[:20] + tables + whole[20:], whole)


def test_standard_huffman_tables_may_be_missing():
    whole = file()
    bare = without(whole, {DHT})
    assert b"\xff\xc4" not in bare[:300]
    assert cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_COLOR) is not None, "OpenCV reads it"
    check(bare, whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.9, 0.99])
def test_a_scan_that_is_cut_fails(kind, share):
    whole = file(**KINDS[kind])
    begin = next(s.start for s in iter_segments(whole) if s.marker == SOS)
    cut = whole[: begin + int((len(whole) - begin) * share)]
    assert reason(cut) == "truncated"
    assert reason(cut + bytes(64)) == "truncated"  # as in a file whose space was reserved and not filled


def test_restarts_that_are_missing_fail():
    whole = file(restart_marker_blocks=3)
    begin = next(s.start for s in iter_segments(whole) if s.marker == SOS)
    for cut in [at for at in range(begin, len(whole) - 2) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7][::7]:
        assert reason(whole[:cut]) == "truncated"
        assert reason(whole[:cut] + b"\xff\xd9") == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("renumber", [lambda n: n + 1, lambda n: 0, lambda n: 7 - n % 8], ids=["late", "same", "back"])
def test_restarts_with_other_numbers_are_read_in_their_order(progressive, renumber):
    whole = file(restart_marker_blocks=3, progressive=progressive)
    found, odd = itertools.count(), bytearray(whole)
    for own in iter_segments(whole):
        for at in range(own.start + 14, own.end) if own.marker == SOS else ():
            if whole[at - 1] == 0xFF and 0xD0 <= whole[at] <= 0xD7:
                odd[at] = 0xD0 + renumber(next(found)) % 8
    assert bytes(odd) != whole
    check(bytes(odd), whole)


def test_a_progressive_file_without_its_last_scans_fails():
    whole = file(progressive=True)
    for last in [s.end for s in iter_segments(whole) if s.marker == SOS][:-1]:
        assert reason(whole[:last]) == "truncated"


def test_a_progressive_file_cut_between_a_component_and_the_next_fails():
    whole = file(progressive=True)
    assert reason(whole[: second_scan(whole)]) == "truncated"


def test_an_odd_sampling_needs_its_end_marker():
    data = bytearray(file(subsampling=0))
    frame = next(s.start for s in iter_segments(bytes(data)) if s.marker in SOF)
    data[frame + 11] = 0x31  # three times as much luma as chroma, for which libjpeg's simple interface has no name
    header = read_jpeg_header(bytes(data))
    rng = np.random.default_rng(3)
    blocks = [rng.integers(-9, 9, (*dims, 64), dtype=np.int16) for dims in block_dims(header, header.components)]
    whole = write_blocks(bytes(data), header, header.components, blocks)
    np.testing.assert_array_equal(decode("a", whole).pixels, np.asarray(Image.open(io.BytesIO(whole))))
    assert reason(whole[:-2]) == "truncated"
    assert reason(whole[: len(whole) // 2]) == "truncated"


def test_a_height_that_stands_after_the_scan_is_unsupported():
    whole = bytearray(file())
    frame = next(s.start for s in iter_segments(bytes(whole)) if s.marker in SOF)
    whole[frame + 5 : frame + 7] = b"\0\0"
    with_height = bytes(whole[:-2]) + segment(0xDC, b"\x00\x70") + b"\xff\xd9"
    with pytest.raises(Exception, match=r"cannot identify|broken"):
        Image.open(io.BytesIO(with_height)).load()
    assert reason(with_height) == "unsupported_mode"
    assert reason(bytes(whole)) == "decode"


def test_pillow_and_opencv_read_what_is_read_here():
    """The oracle: Pillow takes nearly all of these files where it may go on at the end of the data."""
    whole = file()
    flawed = {
        name: after(whole, {DQT, DHT}, own)
        for name, own in EXTRANEOUS.items()
        if name not in ("TEM", "a restart marker")
    }
    flawed |= {f"behind {name}": whole[:-2] + behind for name, behind in BEHIND.items()}
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        for name, data in flawed.items():
            np.testing.assert_array_equal(decode("a", data).pixels, np.asarray(Image.open(io.BytesIO(data))))
            if "behind" not in name:  # because OpenCV wants an end marker
                assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
