"""The forward transform of JPEG blocks."""

from __future__ import annotations

import numpy as np
import pytest
from shifted_memory import numpy_memory_at, shifted

from anon_batch.imaging.jpeg.dct import transform_blocks

BLOCKS = np.random.default_rng(0).uniform(-128, 128, (7, 61, 8, 8)).astype(np.float32)


def test_transform_is_the_orthonormal_dct() -> None:
    frequency, sample = np.mgrid[:8, :8]
    basis = np.cos((2 * sample + 1) * frequency * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    np.testing.assert_allclose(transform_blocks(BLOCKS), basis @ BLOCKS.astype(np.float64) @ basis.T, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 60])
def test_a_block_has_the_same_bits_whichever_blocks_are_transformed_with_it(count: int) -> None:
    together = transform_blocks(BLOCKS)
    for start in (0, 1):
        alone = transform_blocks(BLOCKS[:, start : start + count])
        assert np.array_equal(alone, together[:, start : start + count])


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_a_block_has_the_same_bits_wherever_its_memory_lies(offset: int) -> None:
    together = transform_blocks(BLOCKS)
    with numpy_memory_at(offset):
        assert np.array_equal(transform_blocks(shifted(BLOCKS, 64 - offset)), together)
