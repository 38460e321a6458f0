"""Columns that name persons become tokens: one for a person in a scope, unrelated under another key, in no public file."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import ManifestError
from anon_batch.manifest.persons import OF_IMAGE, OF_REGIONS, PersonColumn
from anon_batch.manifest.regions_column import REGIONS_TYPE

KEY, OTHER = bytes(range(32)), bytes(32)
BOX = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0, "label": "face", "ignore": False, "keep": False}


def table(persons: pa.Array, groups: list[object] | None = None, regions: list[int | None] | None = None) -> pa.Table:
    count = len(persons)
    lists = [None if n is None else [BOX] * n for n in regions or [1] * count]
    columns = {"image_id": [f"{n}.jpg" for n in range(count)], "regions": pa.array(lists, REGIONS_TYPE)}
    return pa.table({**columns, "person": persons, "place": pa.array(groups or [None] * count)})


def tokens(rows: pa.Table, key: bytes = KEY, **identity: object) -> list[object]:
    own = IdentityConfig(**{"scope": "dataset", **identity})  # type: ignore[arg-type]
    extra = rows.select(["person", "place"]).schema
    [values] = PersonColumn(own, extra, lambda: key, "m").private(rows).values()
    return list(values.to_pylist())


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=12))
def test_a_person_has_one_token_and_nobody_elses(names: list[str | None]) -> None:
    found = tokens(table(pa.array(names, pa.string())))
    for name, token in zip(names, found, strict=True):
        assert (token is None) == (name in (None, ""))
    known = {name: token for name, token in zip(names, found, strict=True) if token is not None}
    assert len(set(known.values())) == len(known)
    assert found == [known.get(name) for name in names]


def test_numbers_and_texts_of_the_same_digits_are_one_person() -> None:
    assert tokens(table(pa.array([7, 8]))) == tokens(table(pa.array(["7", "8"])))


def test_another_key_or_scope_gives_unrelated_tokens() -> None:
    rows = table(pa.array(["ann", "bob"]), ["x", "y"])
    found = [
        *tokens(rows),
        *tokens(rows, OTHER),
        *tokens(rows, scope="group", group_column="place"),
        *tokens(table(pa.array(["ann", "bob"]), ["y", "x"]), scope="group", group_column="place"),
    ]
    assert len(set(found)) == 8
    assert all(isinstance(token, str) and len(token) == 32 for token in found)


def test_a_face_without_a_group_is_of_nobody() -> None:
    found = tokens(table(pa.array(["ann"] * 3), [None, "", "x"]), scope="group", group_column="place")
    assert [token is None for token in found] == [True, True, False]


def test_lists_have_one_entry_for_each_region() -> None:
    kind = pa.list_(pa.string())
    rows = table(pa.array([["ann", None], [], None], kind), regions=[2, 0, 1])
    found = tokens(rows)
    assert [None if own is None else [t is not None for t in own] for own in found] == [[True, False], [], None]  # type: ignore[attr-defined]
    assert found[0][0] == tokens(table(pa.array(["ann"])))[0]  # type: ignore[index]
    for wrong in ([2, 1, 1], [None, 0, 1], [1, 0, 1]):
        with pytest.raises(ManifestError, match="one for each region"):
            tokens(table(pa.array([["ann", None], [], None], kind), regions=wrong))


@pytest.mark.parametrize(
    ("schema", "identity", "words"),
    [
        ([("who", pa.string())], {}, "no column `person`; there are: who"),
        ([("person", pa.float64())], {}, "needs text or integers"),
        ([("person", pa.list_(pa.bool_()))], {}, "needs text or integers"),
        ([("person", pa.string())], {"scope": "group", "group_column": "place"}, "no column `place`"),
        (
            [("person", pa.string()), ("place", pa.list_(pa.string()))],
            {"scope": "group", "group_column": "place"},
            "is a list",
        ),
        ([("person", pa.string()), (OF_IMAGE, pa.string())], {}, "rename column"),
        ([("person", pa.string()), (OF_REGIONS, pa.string())], {}, "rename column"),
    ],
)
def test_what_names_no_person_is_refused(schema: list[object], identity: dict[str, object], words: str) -> None:
    own = IdentityConfig(**{"scope": "dataset", **identity})  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match=words):
        PersonColumn(own, pa.schema(schema), lambda: KEY, "m")
