"""What a refused resume and a patch say of settings that differ."""

from __future__ import annotations

import json

import pytest

from anon_batch.pipeline.fingerprint import differences

CENTERFACE = {"name": "centerface", "labels": None, "threshold": None, "scale": None, "refine": None, "options": {}}


def test_long_values_that_begin_alike_are_shown_where_they_differ():
    old, new = [CENTERFACE], [CENTERFACE, {**CENTERFACE, "name": "person"}]
    (line,) = differences({"detect.detectors": old}, {"detect.detectors": new})
    was, now = line.removeprefix("detect.detectors: was ").split(", is ")
    assert was.endswith("{}}]")
    assert '"name": "person"' in now
    assert '"centerface"' not in line
    assert max(len(was), len(now)) <= 103


@pytest.mark.parametrize(("old", "new"), [(None, "mannequin"), (0.2, 0.3), ("z" * 40, "z" * 41), ([1], [1, 2])])
def test_short_values_are_shown_whole(old, new):
    assert differences({"key": old}, {"key": new}) == [f"key: was {json.dumps(old)}, is {json.dumps(new)}"]
