"""A sealed region opens with its own keys in its own place, and with nothing else."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.sealing.envelope import Kek, Sealed, WrappedKek, open_sealed
from anon_batch.sealing.key_files import WrongKeyError, new_key

KEY, OTHER = new_key("x25519"), new_key("x25519")
KEK = Kek.new("run")


def opened(sealed: Sealed, kek: Kek = KEK) -> bytes:
    return open_sealed(sealed, kek.data_key(sealed))


@given(st.binary(max_size=300), st.text(min_size=1, max_size=40), st.integers(-1, 10_000))
def test_what_was_sealed_comes_back(plaintext: bytes, image_id: str, region: int) -> None:
    sealed = KEK.seal(image_id, region, "codec", plaintext)
    assert opened(sealed) == plaintext
    assert len(sealed.ciphertext) == len(plaintext) + 16
    assert (len(sealed.wrapped_key), len(sealed.commitment)) == (60, 16)


@pytest.mark.parametrize("field", ["ciphertext", "wrapped_key", "commitment"])
def test_every_changed_bit_is_refused(field: str) -> None:
    sealed = KEK.seal("a.jpg", 0, "codec", b"what the region showed")
    value = getattr(sealed, field)
    for bit in range(8 * len(value)):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongKeyError):
            opened(dataclasses.replace(sealed, **{field: bytes(changed)}))
    for end in range(len(value)):
        with pytest.raises(WrongKeyError):
            opened(dataclasses.replace(sealed, **{field: value[:end]}))


@pytest.mark.parametrize(
    "change", [{"run_id": "other"}, {"image_id": "b.jpg"}, {"region": 1}, {"region": -1}, {"codec": "other"}]
)
def test_another_place_is_refused_by_either_key(change: dict[str, object]) -> None:
    sealed = KEK.seal("a.jpg", 0, "codec", b"x")
    data_key = KEK.data_key(sealed)
    moved = dataclasses.replace(sealed, place=sealed.place._replace(**change))  # type: ignore[arg-type]
    with pytest.raises(WrongKeyError):
        opened(moved)
    with pytest.raises(WrongKeyError):
        open_sealed(moved, data_key)


def test_regions_cannot_be_exchanged() -> None:
    first, second = KEK.seal("a.jpg", 0, "codec", b"first"), KEK.seal("a.jpg", 1, "codec", b"other")
    for field in ("ciphertext", "wrapped_key", "commitment"):
        with pytest.raises(WrongKeyError):
            opened(dataclasses.replace(first, **{field: getattr(second, field)}))
    everything = {field: getattr(second, field) for field in ("ciphertext", "wrapped_key", "commitment")}
    with pytest.raises(WrongKeyError):
        opened(dataclasses.replace(first, **everything))


def test_a_data_key_opens_one_region_alone() -> None:
    first, second = KEK.seal("a.jpg", 0, "codec", b"first"), KEK.seal("a.jpg", 1, "codec", b"other")
    with pytest.raises(WrongKeyError):
        open_sealed(second, KEK.data_key(first))


def test_equal_plaintexts_look_different() -> None:
    records = [KEK.seal("a.jpg", 0, "codec", b"same") for _ in range(200)]
    for field in ("ciphertext", "wrapped_key", "commitment"):
        assert len({getattr(own, field) for own in records}) == 200


def test_only_recipients_unwrap_the_key_of_a_shard() -> None:
    wrapped = KEK.wrap([KEY.public])
    sealed = KEK.seal("a.jpg", 0, "codec", b"x")
    assert opened(sealed, Kek.unwrap(wrapped, KEY)) == b"x"
    with pytest.raises(WrongKeyError):
        Kek.unwrap(wrapped, OTHER)
    body = bytearray(wrapped.wrapped[KEY.public.key_id])
    body[40] ^= 1
    for changed in (
        dataclasses.replace(wrapped, wrapped={KEY.public.key_id: bytes(body)}),
        dataclasses.replace(wrapped, kek_id="00" * 16),
        dataclasses.replace(wrapped, run_id="other"),
        dataclasses.replace(wrapped, wrapped={OTHER.public.key_id: wrapped.wrapped[KEY.public.key_id]}),
    ):
        with pytest.raises(WrongKeyError):
            Kek.unwrap(changed, KEY if KEY.public.key_id in changed.wrapped else OTHER)


def test_a_key_that_is_wrapped_again_leaves_the_old_one_behind() -> None:
    new = Kek.new("run")
    sealed = KEK.seal("a.jpg", 0, "codec", b"x")
    again = new.rewrap(sealed, KEK)
    assert again.ciphertext == sealed.ciphertext
    assert opened(again, new) == b"x"
    with pytest.raises(WrongKeyError):
        opened(again)
    with pytest.raises(WrongKeyError):
        opened(sealed, new)
    with pytest.raises(WrongKeyError):
        new.rewrap(again, KEK)


def test_nothing_shows_or_carries_a_key() -> None:
    sealed = KEK.seal("a.jpg", 0, "codec", b"plain")
    assert "plain" not in repr(sealed)
    assert sealed.wrapped_key.hex() not in repr(sealed)
    assert repr(KEK) == f"Kek({KEK.kek_id})"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(KEK)
    assert isinstance(pickle.loads(pickle.dumps(KEK.wrap([KEY.public]))), WrappedKek)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["x25519", "mlkem768x25519"]), min_size=1, max_size=3))
def test_each_of_several_recipients_opens_alone(suites: list[str]) -> None:
    keys = [new_key(suite) for suite in suites]  # type: ignore[arg-type]
    wrapped, sealed = KEK.wrap([key.public for key in keys]), KEK.seal("a.jpg", -1, "file-v1", b"x")
    assert all(opened(sealed, Kek.unwrap(wrapped, key)) == b"x" for key in keys)
