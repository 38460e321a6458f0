"""Templates of faces, the tail of other people's similarities, and what the index's files tell who has no key."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from link_dataset import KEY

from anon_batch.errors import IntegrityError
from anon_batch.formats.face_record import CODEC, FaceRecord, IndexedFace
from anon_batch.recognition.impostors import Impostors
from anon_batch.recognition.templates import TEMPLATE_BYTES, TemplateKey
from anon_batch.sealing.envelope import Kek

KEYS = [TemplateKey(hashlib.sha256(bytes([number])).digest()) for number in range(2)]


def features(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, 128))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def templates(key: TemplateKey, own: np.ndarray) -> np.ndarray:
    return np.stack([np.frombuffer(key.template(feature), np.uint8) for feature in own])


def test_a_template_is_the_same_everywhere() -> None:
    digest = hashlib.sha256(templates(TemplateKey(bytes(range(32))), features(50)).tobytes()).hexdigest()
    assert digest == "ab6a2571592edfdcefcd45c2f42a00f1cb71ce4b8bd7e2d61b92a12768ade2ca"
    assert len(KEYS[0].template(features(1)[0])) == TEMPLATE_BYTES


def test_equal_bits_estimate_the_cosine() -> None:
    one = features(400)
    two = features(400, 1) * np.linspace(0, 2, 400)[:, None] + one
    two /= np.linalg.norm(two, axis=1, keepdims=True)
    estimated = np.array(
        [KEYS[0].similarities(a, templates(KEYS[0], b[None]))[0] for a, b in zip(one, two, strict=True)]
    )
    error = estimated - (one * two).sum(axis=1)
    assert abs(error.mean()) < 0.01
    assert error.std() < 0.07


def test_templates_of_two_keys_match_at_chance() -> None:
    own = features(300)
    crossed = [
        np.unpackbits(a ^ b).mean() for a, b in zip(templates(KEYS[0], own), templates(KEYS[1], own), strict=True)
    ]
    assert abs(np.mean(crossed) - 0.5) < 0.01
    assert max(abs(value - 0.5) for value in crossed) < 0.12


def test_a_key_is_neither_shown_nor_pickled() -> None:
    assert KEYS[0].secret.hex() not in repr(KEYS[0])
    with pytest.raises(TypeError):
        pickle.dumps(KEYS[0])
    assert "b'" not in repr(FaceRecord(KEYS[0].secret, (IndexedFace("small"),)))


def test_a_record_comes_back_or_is_refused() -> None:
    faces = (IndexedFace("indexed", "ab12", bytes(range(64))), IndexedFace("small"), IndexedFace("no face", "x"))
    data = FaceRecord(bytes(32), faces).to_bytes()
    assert FaceRecord.from_bytes(data, "a") == FaceRecord(bytes(32), faces)
    for at in range(len(data)):
        if at not in (
            32,
            32 + 2 + 4 + 64,
            len(data) - 3,
        ):  # a record of fewer regions, which the index finds by their number
            with pytest.raises(IntegrityError, match="a: its record"):
                FaceRecord.from_bytes(data[:at], "a")


def test_stored_records_of_the_same_faces_match_at_chance() -> None:
    """The attack of two tables: rows are matched by how similar they are to the other rows of their own table."""
    own, tables = features(120), []
    for _ in range(2):
        kek, key = Kek.new("run"), TemplateKey.new()
        rows = [
            kek.seal(
                f"{at}.jpg",
                -1,
                CODEC,
                FaceRecord(key.secret, (IndexedFace("indexed", None, key.template(one)),)).to_bytes(),
            )
            for at, one in enumerate(own)
        ]
        bits = np.stack([np.unpackbits(np.frombuffer(row.ciphertext, np.uint8)) for row in rows]).astype(float) * 2 - 1
        tables.append(np.sort(bits @ bits.T, axis=1))
    distance = ((tables[0][:, None] - tables[1][None]) ** 2).sum(axis=2)
    hits = int((distance.argmin(axis=1) == np.arange(len(own))).sum())
    assert hits <= 6  # chance is 1 of 120 rows


def test_only_the_key_that_searched_makes_its_code() -> None:
    from anon_batch.sealing.key_files import new_key, read_private_key

    assert KEY.code_of(b"photo") == read_private_key(KEY.pem(), "k").code_of(b"photo")
    assert (
        len(
            {
                KEY.code_of(b"photo"),
                KEY.code_of(b"other"),
                new_key("x25519").code_of(b"photo"),
                new_key().code_of(b"photo"),
            }
        )
        == 4
    )


@pytest.mark.parametrize("count", [40, 400, 40_000])
def test_as_many_others_pass_the_threshold_as_are_expected(count: int) -> None:
    draw, passed, expected = np.random.default_rng(0), [], []
    for _ in range(30 if count < 1000 else 3):
        scores = draw.normal(0.05, 0.12, count)
        own = Impostors(scores)
        threshold = own.threshold(1)
        passed.append(int((draw.normal(0.05, 0.12, count) >= threshold).sum()))
        expected.append(own.expected(threshold))
    assert np.mean(passed) <= 1
    assert all(value.low <= value.value <= value.high <= 1.0005 for value in expected)
    assert own.chance(0.9).high < own.chance(0.3).high < 1


def test_the_persons_own_images_do_not_move_the_threshold_away() -> None:
    draw = np.random.default_rng(0)
    others = draw.normal(0.05, 0.12, 300)
    alone, among = Impostors(others).threshold(1), Impostors(np.concatenate([others, np.full(40, 0.9)])).threshold(1)
    assert alone < among < 0.8


def test_equal_scores_give_a_threshold() -> None:
    assert 0.5 < Impostors(np.full(50, 0.5)).threshold(1) < 0.7
