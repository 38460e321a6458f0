"""Where `inspect` goes on after a scan: at the first marker that is neither data nor a restart."""

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from anon_batch.imaging.metadata.inspect import inspect

codes = st.lists(st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd7", b"\xd8", b"\xd9", b"\x01", b"\n", b"\xff\x00"]))


def _file(**options):
    out = io.BytesIO()
    samples = np.random.default_rng(3).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(samples).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


FILE = _file()
SCAN = FILE.index(b"\xff\xda") + 14


def _end(data, at):
    """Byte by byte: None where the data ends first."""
    while at + 1 < len(data):
        if data[at] != 0xFF:
            at += 1
        elif data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
            at += 2
        else:
            return at
    return None


@given(codes.map(b"".join))
@example(b"")
@example(b"\xff\xd9")
@example(b"\xff\x00\xff\xd3\n\xff\xd9")
@example(b"\xff\xff\xd9")
@example(b"\xff\xd9\xff\xd9")
def test_segments_after_the_first_marker_are_findings(coded):
    data = FILE[:SCAN] + coded
    end = _end(data, SCAN)
    clean = end is not None and data[end:] == b"\xff\xd9"
    assert (inspect(data) == []) == clean


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 1}, {"progressive": True}])
def test_complete_files_pass(options):
    data = _file(**options)
    assert inspect(data) == []
    assert inspect(data[:-2]) != []
    assert inspect(data + b"\xff\xd9") != []
