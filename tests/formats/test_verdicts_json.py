"""The private file of verdicts on single images."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.verdicts_json import MARKS, DrawnBox, Verdict, Verdicts

_EDGES = st.tuples(*[st.floats(0, 1e5)] * 4).filter(lambda e: e[0] < e[2] and e[1] < e[3])
_BOXES = st.builds(lambda e, label: DrawnBox(*e, label=label), _EDGES, st.text(min_size=1))
_VERDICTS = st.builds(Verdict, st.text(), st.sampled_from(MARKS), st.lists(_BOXES, max_size=3).map(tuple))


def verdicts(*own: Verdict) -> Verdicts:
    return Verdicts("run", "0123456789abcdef", "ab" * 32, "2026-01-01T00:00:00+00:00", "1.0", ("Ada",), own)


@settings(max_examples=30)
@given(st.lists(_VERDICTS, max_size=4))
def test_the_file_comes_back(own: list[Verdict]) -> None:
    written = verdicts(*own)
    assert Verdicts.from_json(written.to_json(), "v.json") == written


def test_the_format_is_the_documented_one() -> None:
    own = Verdict("a.jpg", "missed", (DrawnBox(1, 2, 3.5, 4, "plate"),))
    read = json.loads(verdicts(own).to_json())
    assert read["version"] == 1
    assert read["run_id"] == "run"
    assert read["verdicts"] == [
        {"image_id": "a.jpg", "verdict": "missed", "boxes": [{"box": [1, 2, 3.5, 4], "label": "plate"}]}
    ]


def test_other_versions_and_damage_are_refused() -> None:
    content = json.loads(verdicts(Verdict("a", "missed", (DrawnBox(1, 2, 3, 4),))).to_json())
    with pytest.raises(ConfigError, match="Update anon-batch"):
        Verdicts.from_json(json.dumps({**content, "version": 9}).encode(), "v.json")
    for wrong in (
        {"verdict": "good"},
        {"boxes": [{"box": [3, 2, 1, 4], "label": "x"}]},
        {"boxes": [{"box": [1, 2], "label": "x"}]},
    ):
        broken = {**content, "verdicts": [{**content["verdicts"][0], **wrong}]}
        with pytest.raises(IntegrityError, match=r"v\.json: damaged"):
            Verdicts.from_json(json.dumps(broken).encode(), "v.json")
    with pytest.raises(IntegrityError):
        Verdicts.from_json(b"[" * 100_000, "v.json")


@pytest.mark.parametrize("edges", [(0, 0, 0, 1), (-1, 0, 1, 1), (0, 0, float("nan"), 1), (0, 0, 1, float("inf"))])
def test_boxes_that_are_none_are_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box"):
        DrawnBox(*edges)
