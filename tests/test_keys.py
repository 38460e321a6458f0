from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest

from anon_batch.keys import derive, generator, seed

KEY = bytes(range(32))


def test_seed_is_the_documented_hmac():
    name = "a/ü.jpg".encode()
    message = b"anon-batch face seed 1\x00" + len(name).to_bytes(8, "big") + name + (3).to_bytes(8, "big")
    expected = int.from_bytes(hmac.new(KEY, message, hashlib.sha256).digest()[:8], "big")
    assert seed(KEY, "a/ü.jpg", 3) == expected


def test_seed_stays_what_it_was():
    # A release is repeated with its run key years later: this number must never change.
    assert seed(KEY, "images/0001.jpg", 0) == 12221259494587943255


def test_key_id_and_index_all_count():
    seeds = {
        seed(key, image_id, index)
        for key in (KEY, KEY[::-1])
        for image_id in ("a", "a1", "1", "")
        for index in (0, 1, 11, 2**62)
    }
    assert len(seeds) == 2 * 4 * 4


def test_id_that_is_no_valid_unicode_has_a_seed():
    assert seed(KEY, "\udcff", 0) != seed(KEY, "\udcfe", 0)


@pytest.mark.parametrize(("key", "index"), [(b"", 0), (KEY, -1), (KEY, 2**63), (KEY, "")])
def test_what_cannot_be_a_subject_is_refused(key, index):
    with pytest.raises(ValueError, match="expected"):
        seed(key, "a", index)


def test_generators_are_independent_of_global_state_and_of_each_other():
    np.random.seed(1)
    first = generator(5).integers(0, 2**32, 8)
    np.random.seed(2)
    other = generator(6)
    other.random(100)
    assert np.array_equal(first, generator(5).integers(0, 2**32, 8))
    assert not np.array_equal(first, generator(6).integers(0, 2**32, 8))
    state = np.random.get_state()[1].copy()
    generator(7).random(10)
    assert np.array_equal(state, np.random.get_state()[1])


def test_text_names_a_subject_in_every_image():
    assert seed(KEY, "a", "anna") == seed(KEY, "b", "anna")
    message = b"anon-batch subject seed 1\x00" + (4).to_bytes(8, "big") + b"anna"
    assert seed(KEY, "a", "anna") == int.from_bytes(hmac.new(KEY, message, hashlib.sha256).digest()[:8], "big")
    assert len({seed(KEY, "a", subject) for subject in ("1", "anna", 1, "01", "annab")}) == 5


def test_derived_keys_differ_by_purpose_and_parts():
    derived = {
        derive(KEY, *parts)
        for parts in (
            ("link",),
            ("seal",),
            ("link", "a"),
            ("link", "a", "b"),
            ("link", "ab"),
            ("link", b"a\x00"),
            ("link", ""),
        )
    }
    assert len(derived) == 7
    assert all(len(key) == 32 for key in derived)
    assert derive(KEY, "link", "a") == derive(KEY, "link", b"a")
    assert derive(KEY[::-1], "link") not in derived
    assert int.from_bytes(derive(KEY, "x")[:8], "big") != seed(KEY, "x", 0)


@pytest.mark.parametrize(("key", "purpose"), [(b"", "link"), (KEY, "")])
def test_derive_needs_key_and_purpose(key, purpose):
    with pytest.raises(ValueError, match="expected"):
        derive(key, purpose)
