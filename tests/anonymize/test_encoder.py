"""The encoder of surroundings: what it looks at, that its bytes are its own, and which weights it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from shifted_memory import shifted

from anon_batch.anonymize.faces.encoder import CODE, PREFIX, SIDE, EncoderNetwork, SurroundingsEncoder
from anon_batch.errors import ModelError


@pytest.fixture(scope="module")
def tensors():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EncoderNetwork()
    return {PREFIX + name: values.numpy().astype(np.float16) for name, values in network.state_dict().items()}


@pytest.fixture(scope="module")
def encoder(tensors):
    return SurroundingsEncoder(tensors)


def surroundings(seed=0):
    """Random Lab, and the known pixels around a circle."""
    rng = np.random.default_rng(seed)
    lab = rng.normal((50, 8, 12), (20, 8, 8), (SIDE, SIDE, 3)).astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return lab, np.hypot(x, y) > 14


def test_codes_have_length_one(encoder):
    code = encoder.encode(*surroundings())
    assert code.shape == (CODE,)
    assert code.dtype == np.float32
    assert np.linalg.norm(code) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("under", [0.0, 1e6, np.nan])
def test_what_lies_under_a_mask_has_no_influence(encoder, under):
    lab, known = surroundings()
    expected = encoder.encode(lab, known)
    lab[~known] = under
    assert encoder.encode(lab, known).tobytes() == expected.tobytes()


def test_surroundings_and_mask_count(encoder):
    lab, known = surroundings()
    code = encoder.encode(lab, known)
    other = lab.copy()
    other[2:8, 2:8, 0] += 30
    assert np.abs(encoder.encode(other, known) - code).max() > 1e-4
    black = np.full_like(lab, (50, 8, 12))  # the network's zero
    assert np.abs(encoder.encode(black, known) - encoder.encode(black, ~known)).max() > 1e-4


def test_nothing_known_still_gives_a_code(encoder):
    lab, known = surroundings()
    assert np.isfinite(encoder.encode(lab, np.zeros_like(known))).all()


def test_bytes_do_not_depend_on_threads_memory_or_layout(encoder):
    faces = [surroundings(seed) for seed in range(6)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = [encoder.encode(*face).tobytes() for face in faces]
        torch.set_num_threads(4)
        assert [encoder.encode(*face).tobytes() for face in faces] == expected
        assert torch.get_num_threads() == 4, "the caller's number of threads stays"
        with ThreadPoolExecutor(3) as pool:
            assert [code.tobytes() for code in pool.map(lambda face: encoder.encode(*face), faces)] == expected
    finally:
        torch.set_num_threads(before)
    lab, known = faces[0]
    for offset in (4, 20, 36):
        assert encoder.encode(shifted(lab, offset), shifted(known, offset)).tobytes() == expected[0]
    planes = np.ascontiguousarray(lab.transpose(2, 0, 1)).transpose(1, 2, 0)
    assert encoder.encode(planes, known).tobytes() == expected[0]


def test_other_tensors_are_ignored(tensors, encoder):
    face = surroundings()
    more = SurroundingsEncoder({**tensors, "face.head.0.bias": np.zeros(3), "boxes": np.zeros((4, 4))})
    assert more.encode(*face).tobytes() == encoder.encode(*face).tobytes()


@pytest.mark.parametrize("change", ["missing", "another shape", "none"])
def test_weights_that_do_not_fit_are_refused(tensors, change):
    damaged = dict(tensors)
    if change == "missing":
        del damaged[PREFIX + "head.0.bias"]
    elif change == "another shape":
        damaged[PREFIX + "head.0.bias"] = np.zeros(7, np.float16)
    else:
        damaged = {}
    with pytest.raises(ModelError, match="encoder of surroundings"):
        SurroundingsEncoder(damaged)
