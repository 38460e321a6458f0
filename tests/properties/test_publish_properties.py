"""Whatever the shape of a column, no address that is in it is published, and plain values stay as they are."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.manifest.publish import decide

CANARY = "https://canary-host/x?token=1"
PLAIN = st.sampled_from(["cat", "a dog on a sofa", "Great Dane", "n01440764", "", "3", "[1]", "{}", "ü"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), PLAIN)
KEYS = st.sampled_from(["label", "caption", "k", "width", "score", "a.b"])
HOSTILE = st.one_of(
    st.just(CANARY),
    st.just(f"see {CANARY} now"),
    st.just(json.dumps({"k": CANARY})),
    st.just(json.dumps(json.dumps([CANARY]))),
    st.just(json.dumps(CANARY).replace("/", "\\/").replace("h", "\\u0068", 1)[1:-1]),
)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = KEYS) -> st.SearchStrategy[Any]:
    def inside(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3))

    return st.recursive(leaves, inside, max_leaves=8)


def published(cells: list[Any], sample: int) -> list[Any]:
    table = pa.table({"x": [json.dumps(cell) for cell in cells]})
    columns = decide(table[:sample], table.schema)
    out = columns.apply(table)
    return out.column("x").to_pylist() if "x" in out.column_names else [None] * len(cells)


@given(
    st.lists(nested(st.one_of(SCALARS, HOSTILE), st.one_of(KEYS, st.just(CANARY))), min_size=1, max_size=6),
    st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_no_address_passes_however_deep_it_lies_and_late_it_comes(cells: list[Any], sample: int) -> None:
    text = "".join(cell or "" for cell in published(cells, sample))
    assert "canary" not in text.replace("\\u0068", "h")


@given(st.lists(nested(SCALARS), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_plain_values_stay_as_they_are(cells: list[Any]) -> None:
    assert published(cells, 6) == [json.dumps(cell) for cell in cells]
