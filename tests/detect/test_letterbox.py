from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.letterbox import find_in_batches
from anon_batch.models.network import SynchronousNetwork
from anon_batch.records import Detections


class Recorder(SynchronousNetwork):
    """A network that returns its batch; records the shapes and images that it saw."""

    def __init__(self, batch_size=1):
        self.batch_size = batch_size
        self.batches = []

    def run(self, batch):
        self.batches.append(batch.copy())
        return [batch]


def search(network, pieces, scales):
    """Factors of each piece, by which its whole extent is the box that comes back."""
    factors = []

    def decode(outputs, factor):
        factors.append(factor)
        assert outputs[0].ndim == 3
        return Detections.empty()

    found = find_in_batches(network, pieces, scales, decode)
    assert len(found) == len(pieces)
    return factors


@pytest.mark.parametrize(
    ("size", "scale", "seen", "shown"),
    [
        ((300, 400), 1.0, (320, 416), (312, 416)),
        ((267, 400), 2.0, (544, 800), (534, 800)),
        ((64, 96), 1.0, (64, 96), (64, 96)),
        ((1, 1), 1.0, (32, 32), (32, 32)),
        ((4000, 1), 1.0, (4000, 32), (4000, 1)),
        ((1000, 3), 0.1, (128, 32), (128, 1)),
    ],
)
def test_a_piece_keeps_its_aspect_ratio_and_is_padded_with_black(size, scale, seen, shown):
    network = Recorder()
    [(across, down)] = search(network, [np.full((*size, 3), 200, np.uint8)], [scale])
    [batch] = network.batches
    assert batch.shape == (1, 3, *seen)
    assert (batch[:, :, : shown[0], : shown[1]] == 200).all()
    assert batch.sum() == 200.0 * 3 * shown[0] * shown[1]
    assert (down * size[0], across * size[1]) == pytest.approx(shown)


def test_the_network_sees_rgb_of_strided_pieces():
    whole = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    network = Recorder()
    search(network, [whole[10:74, 5:69]], [1.0])
    np.testing.assert_array_equal(network.batches[0][0], whole[10:74, 5:69].transpose(2, 0, 1))


def test_pieces_of_one_network_size_share_calls_and_come_back_in_order():
    network = Recorder(batch_size=2)
    pieces = [np.full((h, w, 3), v, np.uint8) for h, w, v in ((64, 90, 1), (32, 32, 2), (60, 96, 3), (64, 96, 4))]
    found = find_in_batches(network, pieces, [1.0] * 4, marked)
    assert [batch.shape for batch in network.batches] == [(2, 3, 64, 96), (2, 3, 64, 96), (2, 3, 32, 32)]
    assert [network.batches[at][1].max() for at in range(3)] == [3, 0, 0]
    assert [own.boxes[0, 0] for own in found] == [1, 2, 3, 4]


def marked(outputs, factors):
    """Return one box whose corner is the first value of the image."""
    value = outputs[0][0, 0, 0]
    boxes = np.float32([[value, 0, value + 1, 1]])
    return Detections(boxes, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("any",))
