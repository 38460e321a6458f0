from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.centerface import CenterFace
from anon_batch.errors import WithheldError
from anon_batch.models.network import SynchronousNetwork

FACE = (10, 6)  # row and column of the heatmap's peak


class FakeNetwork(SynchronousNetwork):
    """One face of 24 x 16 network px (height x width) around (6.75, 10.25) cells; records its batches."""

    def __init__(self, batch_size=1, spoil=None):
        self.batch_size = batch_size
        self.batches = []
        self._spoil = spoil

    def run(self, batch):
        self.batches.append(batch.copy())
        count, _, height, width = batch.shape
        shape = (height // 4, width // 4)
        heatmap = np.zeros((count, 1, *shape), np.float32)
        log_size, offset = np.zeros((count, 2, *shape), np.float32), np.zeros((count, 2, *shape), np.float32)
        marks = np.zeros((count, 10, *shape), np.float32)
        heatmap[:, 0, *FACE] = 0.8
        log_size[:, :, *FACE] = np.log(np.float32([24 / 4, 16 / 4]))
        offset[:, :, *FACE] = [-0.25, 0.25]
        marks[:, :, *FACE] = [0.3, 0.25, 0.3, 0.75, 0.5, 0.5, 0.75, 0.25, 0.75, 0.75]
        outputs = [heatmap, log_size, offset, marks]
        if self._spoil:
            output, value = self._spoil
            outputs[output][:, 0, *FACE] = value
        return outputs


def test_the_decoding_is_exact_and_undoes_the_enlargement():
    network = FakeNetwork()
    found = CenterFace(network, 0.5).find([np.zeros((60, 50, 3), np.uint8)], [2.0])[0]  # sees 128 x 107 px of 128 x 128
    assert network.batches[0].shape == (1, 3, 128, 128)
    cx, cy = (6 + 0.25 + 0.5) * 4, (10 - 0.25 + 0.5) * 4
    box = np.asarray([cx - 8, cy - 12, cx + 8, cy + 12])
    stretch = np.asarray([107 / 50, 128 / 60])
    np.testing.assert_allclose(found.boxes[0], box / np.tile(stretch, 2), rtol=1e-5)
    ratio = np.asarray([[0.25, 0.3], [0.75, 0.3], [0.5, 0.5], [0.25, 0.75], [0.75, 0.75]])
    np.testing.assert_allclose(found.landmarks[0], (box[:2] + ratio * [16, 24]) / stretch, rtol=1e-5)
    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.detectors == ("centerface",)


def test_the_network_sees_rgb_as_it_is():
    network = FakeNetwork()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    CenterFace(network, 0.5).find([pixels], [1.0])
    np.testing.assert_array_equal(network.batches[0][0], pixels.transpose(2, 0, 1))


def test_images_share_batches_by_size_and_the_last_is_padded_with_zeros():
    network = FakeNetwork(batch_size=2)
    large, small = np.full((64, 96, 3), 7, np.uint8), np.full((64, 64, 3), 9, np.uint8)
    found = CenterFace(network, 0.5).find([large, small, large, large], [1.0] * 4)
    assert [batch.shape for batch in network.batches] == [(2, 3, 64, 96), (2, 3, 64, 96), (2, 3, 64, 64)]
    assert network.batches[1][0].min() == 7
    assert network.batches[1][1].max() == 0
    assert [len(own) for own in found] == [1, 1, 1, 1]


@pytest.mark.parametrize("spoil", [(0, np.nan), (0, np.inf), (1, np.nan), (1, 200.0), (2, np.inf)])
def test_outputs_that_are_not_finite_withhold_the_image(spoil):
    finder = CenterFace(FakeNetwork(spoil=spoil), 0.5)
    with pytest.raises(WithheldError, match="not finite") as caught:
        finder.find([np.zeros((64, 64, 3), np.uint8)], [1.0])
    assert caught.value.reason == "detect"


def test_landmarks_that_are_not_finite_become_nan():
    found = CenterFace(FakeNetwork(spoil=(3, np.nan)), 0.5).find([np.zeros((64, 64, 3), np.uint8)], [1.0])[0]
    assert len(found) == 1
    assert np.isnan(found.landmarks).all()
