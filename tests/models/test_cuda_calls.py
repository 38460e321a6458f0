"""The bookkeeping of CUDA calls, on the CPU: a fake graph replays into the tensors of its capture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from anon_batch.models.cuda_calls import CudaCalls

CPU = torch.device("cpu")


class Graphs:
    """Capture calls; a replay computes into the tensors of the capture."""

    def __init__(self, spoil=0.0):
        self.captured, self.replayed, self.spoil = 0, 0, spoil

    def __call__(self, call, pool):
        assert pool is None
        self.captured += 1
        captured_outputs = tuple(out.clone() for out in call())

        def replay():
            self.replayed += 1
            for out, new in zip(captured_outputs, call(), strict=True):
                out.copy_(new + self.spoil)

        return replay, captured_outputs


def double_and_sum(images, weights):
    return images.float() * 2, (images.float().flatten(1) * weights[:, None]).sum(1)


def arguments(rng, sizes):
    return [
        (rng.integers(0, 255, (2, size, 3), dtype=np.uint8), rng.normal(size=2).astype(np.float32)) for size in sizes
    ]


def expected(given):
    return [[out.numpy() for out in double_and_sum(*map(torch.from_numpy, arrays))] for arrays in given]


@pytest.mark.parametrize("spoil", [0.0, 1.0])
def test_mixed_shapes_give_results_in_order_with_and_without_graphs(spoil):
    graphs = Graphs(spoil)
    calls = CudaCalls(double_and_sum, CPU, capture=graphs)
    given = arguments(np.random.default_rng(0), [4, 5, 4, 4, 5, 4, 4, 5, 6, 4])
    got = [[out.copy() for out in outputs] for outputs in calls(iter(given))]
    for ours, theirs in zip(got, expected(given), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_array_equal(one, other)
    assert graphs.captured == 2  # of the shapes that came three times
    assert graphs.replayed == (2 if spoil else 2 + 3)  # a graph that gives other numbers is tried once


def test_a_call_that_cannot_be_captured_runs_without_a_graph(caplog):
    def refuse(call, pool):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    calls = CudaCalls(double_and_sum, CPU, capture=refuse)
    given = arguments(np.random.default_rng(1), [4] * 6)
    for ours, theirs in zip(calls(given), expected(given), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph for inputs of 2x4x3, 2: operation not permitted when stream is capturing"
    ]


def test_the_next_call_starts_before_results_are_returned():
    order = []

    def given():
        for at in range(4):
            order.append(f"made {at}")
            yield (np.full((1, 2), at, np.float32),)

    for (out,) in CudaCalls(lambda numbers: (numbers + 1,), CPU)(given()):
        order.append(f"taken {int(out[0, 0]) - 1}")
    assert order == ["made 0", "made 1", "taken 0", "made 2", "taken 1", "made 3", "taken 2", "taken 3"]


def test_results_are_valid_until_the_next_request():
    calls = CudaCalls(lambda numbers: (numbers * 1,), CPU, capture=Graphs())
    for at, (out,) in enumerate(calls((np.full(3, at, np.float32),) for at in range(7))):
        assert out.tolist() == [at] * 3


def test_the_number_of_buffered_shapes_is_limited():
    graphs = Graphs()
    calls = CudaCalls(lambda numbers: (numbers + 1,), CPU, capture=graphs)
    given = [np.full(1 + at % 40, at, np.float32) for at in range(120)]  # each shape's turn comes after 39 others
    got = [out.copy() for (out,) in calls((numbers,) for numbers in given)]
    assert all((ours == theirs + 1).all() for ours, theirs in zip(got, given, strict=True))
    assert graphs.captured == 0
    assert len(calls._shapes) == 16


def test_abandoned_calls_do_not_affect_later_ones():
    calls = CudaCalls(lambda numbers: (numbers + 1,), CPU, capture=Graphs())
    for _ in range(3):
        assert [
            int(out[0]) for (out,) in itertools.islice(calls((np.full(2, at, np.float32),) for at in range(5)), 2)
        ] == [1, 2]
    assert [int(out[0]) for (out,) in calls([(np.zeros(2, np.float32),)])] == [1]


@pytest.mark.gpu
def test_cuda_graphs_give_what_plain_calls_give():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).cuda().eval()
    captured = []

    def capture(call, pool):
        from anon_batch.models.cuda_calls import capture_graph

        captured.append(1)
        return capture_graph(call, pool)

    given = [
        (np.random.default_rng(at).normal(size=(2, 3, 16 + 8 * (at % 2), 16)).astype(np.float32),) for at in range(12)
    ]
    device = torch.device("cuda")
    graphed, plain = (CudaCalls(lambda x: (network(x),), device, how) for how in (capture, None))
    ours = [out.copy() for (out,) in graphed(given)]
    theirs = [out.copy() for (out,) in plain(given)]
    assert len(captured) == 2
    assert all(shape._replay is not None for shape in graphed._shapes.values())
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
