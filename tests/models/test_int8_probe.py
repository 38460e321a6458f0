from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from anon_batch.config import ModelsConfig
from anon_batch.models import backends
from anon_batch.models.backends import OnnxRuntimeNetwork
from anon_batch.models.int8_probe import int8_saturates
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage


class _Saturating:
    """A session whose sums are too small, as if pairs of products saturated at 16 bits."""

    def __init__(self, *_args, **_kwargs):
        pass

    def run(self, _outputs, feed):
        saturated = round(32767 / (2 * 255 * 127) * 254)
        return [np.full(feed["x"].shape, saturated, np.uint8)]


@pytest.fixture
def fresh():
    int8_saturates.cache_clear()
    yield
    int8_saturates.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_saturated_sums_are_detected(monkeypatch):
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Saturating)
    assert int8_saturates()


def test_a_cpu_that_saturates_gets_exact_results(monkeypatch):
    """The slower kernels give the same sums as the exact ones of a CPU that has them."""
    network = prepare_image_network(ModelStore(Storage(), ModelsConfig()).load("centerface_int8"))
    batch = np.random.default_rng(7).integers(0, 255, (1, 3, 96, 160)).astype(np.float32)
    monkeypatch.setattr(backends, "int8_saturates", lambda: True)
    careful = OnnxRuntimeNetwork(network, 1).run(batch)
    monkeypatch.setattr(backends, "int8_saturates", lambda: False)
    if int8_saturates():
        pytest.skip("this CPU has no exact fast kernels to compare with")
    for slow, fast in zip(careful, OnnxRuntimeNetwork(network, 1).run(batch), strict=True):
        np.testing.assert_allclose(slow, fast, atol=1e-5)
