"""Duplicates and orphans are found exactly, also among names whose hashes collide."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anon_batch.records import ShardSpec
from anon_batch.release import output_names as names_module
from anon_batch.release.output_names import OutputNames

Part = list[dict[str, Any]]


@pytest.fixture(params=[1, 2, 7, 2**64], ids=lambda n: f"{n} hashes")
def hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """From all names alike to hashes as they are; few are compared and looked up at a time."""

    def weak(name: str) -> bytes:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        return (number % request.param).to_bytes(8, "little")

    monkeypatch.setattr(names_module, "_hash", weak)
    monkeypatch.setattr(names_module, "_COMPARED", 2)
    monkeypatch.setattr(names_module, "_LOOKED_UP", 3)


def _row(output: str, member: str | None = None) -> dict[str, Any]:
    return {"output": output, "member": member}


def _named(parts: list[Part]) -> OutputNames:
    held = {ShardSpec(10 * number, 10): part for number, part in enumerate(parts)}
    collected = OutputNames(held.__getitem__)
    for spec, part in held.items():
        collected.add(spec, part)
    return collected


@pytest.mark.usefixtures("hashes")
def test_a_complete_release_has_neither_duplicates_nor_orphans() -> None:
    keys = [f"images/{number}.png" for number in range(20)]
    named = _named([[_row(key) for key in keys[:9]], [], [_row(key) for key in keys[9:]]])
    assert named.duplicates() == 0
    assert list(named.orphans(lambda: keys)) == []
    in_tars = _named([[_row(f"shards/{tar}.tar", f"{n}.png") for n in range(5)] for tar in range(4)])
    assert in_tars.duplicates() == 0
    assert list(in_tars.orphans(lambda: [f"shards/{tar}.tar" for tar in range(4)])) == []


@pytest.mark.usefixtures("hashes")
def test_without_parts_every_key_is_an_orphan() -> None:
    assert _named([]).duplicates() == 0
    assert list(_named([]).orphans(lambda: ["images/a"])) == ["images/a"]
    assert list(_named([[]]).orphans(list)) == []


@pytest.mark.usefixtures("hashes")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 2)), max_size=6), max_size=5),
    st.sets(st.integers(13, 40), max_size=6),
)
def test_duplicates_and_orphans_are_exact(rows: list[list[tuple[int, int | None]]], orphans: set[int]) -> None:
    parts = [[_row(f"images/{n}", None if m is None else str(m)) for n, m in part] for part in rows]
    every = [(row["output"], row["member"]) for part in parts for row in part]
    named = _named(parts)
    assert named.duplicates() == len(every) - len(set(every))
    there = sorted({output for output, _ in every} | {f"images/{n}" for n in orphans})

    def listed() -> Iterable[str]:
        return iter(there)

    assert Counter(named.orphans(listed)) == Counter(f"images/{n}" for n in orphans)


def test_only_parts_that_hold_equal_hashes_are_read_again() -> None:
    read: list[ShardSpec] = []
    parts = {ShardSpec(0, 1): [_row("a")], ShardSpec(1, 1): [_row("b")], ShardSpec(2, 1): [_row("a")]}

    def reread(spec: ShardSpec) -> Part:
        read.append(spec)
        return parts[spec]

    named = OutputNames(reread)
    for spec, part in parts.items():
        named.add(spec, part)
    assert named.duplicates() == 1
    assert read == [ShardSpec(0, 1), ShardSpec(2, 1)]
    read.clear()
    assert list(named.orphans(lambda: ["a", "b", "c"])) == ["c"]
    assert read == [ShardSpec(0, 1), ShardSpec(2, 1)]


def test_names_with_equal_hashes_need_no_second_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "_hash", lambda name: bytes(7) + bytes([len(name)]))
    listings: list[int] = []

    def listed(*keys: str) -> Iterable[str]:
        listings.append(1)
        return keys

    named = _named([[_row("a"), _row("bcd")], [_row("b")]])
    assert named.duplicates() == 0
    assert list(named.orphans(lambda: listed("a", "b", "bcd"))) == []
    assert len(listings) == 1
    assert list(named.orphans(lambda: listed("a", "b", "c", "bcd"))) == ["c"]
    assert len(listings) == 2
    assert list(named.orphans(lambda: listed("a", "b", "bcd", "xyz"))) == ["xyz"]
    assert len(listings) == 4
