from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg_markers import SOS, segments

HEADER = b"\xff\xd8\xff\xda\x00\x02"
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # the rule of T.81, B.1.1, as an expression
codes = st.lists(st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd7", b"\xd8", b"\xd9", b"\x01", b"abc", b"\xff\x00"]))


@given(codes.map(b"".join))
@example(b"\xff")
@example(b"\xff\xff\xd9")
@example(b"\xff\xff\x00\xff\xd3\xff\xff\xd9")
@example(b"a" * 4095 + b"\xff\xd9")  # where the search goes on
@example(b"a" * 4096 + b"\xff\xd9")
@example(b"\xff\x00" * 2048 + b"\xff\xff\xd9")
@example(b"\xff" * 5000 + b"\xd9")
@example(b"\xff\x00" * 90_000 + b"\xff")
def test_a_scan_ends_where_its_marker_begins(coded):
    data = HEADER + coded
    found = MARKER.search(data, len(HEADER))
    if found is None:
        with pytest.raises(FailedError, match="truncated"):
            list(segments(data))
        return
    walk = segments(data)
    next(walk)
    scan = next(walk)
    assert (scan.marker, scan.end) == (SOS, found.start())
