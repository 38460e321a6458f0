from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from anon_batch.imaging.jpeg import markers as jpeg_markers
from anon_batch.imaging.jpeg.markers import APP0, EOI, SOS, iter_segments, read_jpeg_header
from anon_batch.imaging.jpeg.strip import strip_jpeg, strip_segments

LOOK = jpeg_markers._REGEX_BYTES
HEADER = b"\xff\xd8\xff\xda\x00\x02"
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # the rule of T.81, B.1.1, as an expression
codes = st.lists(st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd7", b"\xd8", b"\xd9", b"\x01", b"abc", b"\xff\x00"]))


@given(codes.map(b"".join))
@example(b"\xff")
@example(b"\xff\xff\xd9")
@example(b"\xff\xff\x00\xff\xd3\xff\xff\xd9")
@example(b"a" * (LOOK - 1) + b"\xff\xd9")  # where the search goes on
@example(b"a" * LOOK + b"\xff\xd9")
@example(b"a" * (5 * LOOK - 1) + b"\xff\xd9")
@example(b"\xff\x00" * (LOOK // 2) + b"\xff\xff\xd9")
@example(b"\xff\xd0" * LOOK + b"\xff\xd9")
@example(b"\xff" * (LOOK + 9) + b"\xd9")
@example(b"\xff\x00" * 90_000 + b"\xff")
def test_a_scan_ends_where_its_marker_begins(coded):
    data = HEADER + coded
    found = MARKER.search(data, len(HEADER))
    walk = iter_segments(data)
    next(walk)
    scan = next(walk)
    assert scan.marker == SOS
    if found is not None:
        assert scan.end == found.start()
        return
    assert set(data[scan.end :]) <= {0x00, 0xFF}  # padding
    assert scan.end >= len(data.rstrip(b"\xff").rstrip(b"\0"))
    assert list(walk) == [(EOI, scan.end, scan.end)]  # none is there


@given(codes.map(b"".join), st.integers(1, 9))
def test_the_end_of_a_scan_does_not_depend_on_the_search_method(coded, look):
    data = HEADER + coded
    found = MARKER.search(data, len(HEADER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg_markers, "_REGEX_BYTES", look)
        assert jpeg_markers._end_of_scan(data, len(HEADER)) == (found.start() if found else len(data) + 1)


def _file(**options):
    out = io.BytesIO()
    samples = np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(samples).resize((70, 51)).save(out, "JPEG", **options)
    return out.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    return exif.tobytes()


@pytest.mark.parametrize("orientation", [None, 1, 6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"comment": b"said"},
        {"exif": _exif(8)},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"keep_rgb": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_stripped_file_comes_with_its_segments(options, orientation):
    data = _file(**options) + b"behind the end"
    found = tuple(iter_segments(data))
    assert read_jpeg_header(data, found) == read_jpeg_header(data)
    out, parts = strip_segments(data, found, orientation)
    assert out == strip_jpeg(data, orientation)
    assert parts == tuple(iter_segments(out))
    assert read_jpeg_header(out, parts) == read_jpeg_header(out)
    kinds = [part.marker for part in parts]
    assert kinds.index(APP0) == 1 if APP0 in kinds else "keep_rgb" in options  # JFIF comes before EXIF
    assert read_jpeg_header(out).orientation == (orientation or (8 if "exif" in options else 1))
