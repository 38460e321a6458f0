"""Calls of a network on CUDA: page-locked memory on both ways, the next call made ready while one is computed, and CUDA graphs.

A graph starts all kernels of a call at once, where a small network's kernels take less time than their launches. It is kept
only if it gives the same bits as the plain call.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anon_batch.records import FloatArray

log = logging.getLogger(__name__)
_IN_FLIGHT = 2
_KEPT_SHAPES = 16
_GRAPH_FROM_USE = 3  # of a shape: rare ones are not worth a graph

Arrays = tuple[npt.NDArray[Any], ...]
Function = Callable[..., tuple[Tensor, ...]]
Capture = Callable[[Callable[[], tuple[Tensor, ...]], Any], tuple[Callable[[], None], tuple[Tensor, ...]]]


@contextmanager
def half_on_cuda() -> Iterator[None]:
    """Sums in float16, by kernels that give the same bits each time."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    # A cast weight that autocast keeps from call to call would lie in the memory of the graph that was captured when it was made.
    with flags, torch.autocast("cuda", torch.float16, cache_enabled=False):
        yield


def capture_graph(call: Callable[[], tuple[Tensor, ...]], pool: Any) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """A CUDA graph of a call whose tensors stay where they are.

    Args:
        call: has run before, so that libraries are set up and algorithms chosen.
        pool: memory that graphs share of which one at a time runs.

    Returns:
        What replays it, and the tensors that hold its results then.

    Raises:
        RuntimeError: the call does something that a graph cannot hold.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads of the process may allocate on the device meanwhile: they decode pictures there.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        outputs = call()
    return graph.replay, outputs


class CudaCalls:
    """Calls of one function, each shape with memory of its own.

    Args:
        function: tensors on the device to float32 tensors there; the same bits for the same values. It runs without gradients.
        device: where; on `cpu`, where tests run it, nothing is page-locked and nothing waits.
        capture: makes a graph of a call; None never does.
    """

    def __init__(self, function: Function, device: torch.device, capture: Capture | None = capture_graph) -> None:
        self._function = function
        self._device = device
        self._capture = capture
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._shapes: OrderedDict[tuple[tuple[int, ...], ...], _Shape] = OrderedDict()

    def __call__(self, calls: Iterable[Arrays]) -> Iterator[list[FloatArray]]:
        """Makes calls, one ahead of what is asked for.

        Args:
            calls: the arguments of each, in any shapes.

        Yields:
            The function's results, in the calls' order: arrays that hold until the next ones are asked for.
        """
        waiting: deque[Callable[[], list[FloatArray]]] = deque()
        for arrays in calls:
            waiting.append(self._start(arrays))
            if len(waiting) == _IN_FLIGHT:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    @torch.inference_mode()
    def _start(self, arrays: Arrays) -> Callable[[], list[FloatArray]]:
        key = tuple(array.shape for array in arrays)
        shape = self._shapes.pop(key, None) or _Shape(self._function, arrays, self._device)
        self._shapes[key] = shape
        if len(self._shapes) > _KEPT_SHAPES:
            self._shapes.popitem(last=False)
        finish = shape.start(arrays)
        if shape.uses == _GRAPH_FROM_USE and self._capture is not None:
            shape.keep_graph(self._capture, self._pool)
        return finish


class _Shape:
    """Memory for calls of one shape."""

    def __init__(self, function: Function, arrays: Arrays, device: torch.device) -> None:
        self._function = function
        self._device = device
        self._inputs = [torch.empty(array.shape, dtype=_dtype(array), device=device) for array in arrays]
        self._given = [[self._host(each.shape, each.dtype) for each in self._inputs] for _ in range(_IN_FLIGHT)]
        self._got: list[list[Tensor]] = [[] for _ in range(_IN_FLIGHT)]
        self._replay: Callable[[], None] | None = None
        self._outputs: tuple[Tensor, ...] = ()
        self.uses = 0

    def start(self, arrays: Arrays) -> Callable[[], list[FloatArray]]:
        """Begins a call; returns what waits for its results."""
        slot = self.uses % _IN_FLIGHT
        self.uses += 1
        for array, given, there in zip(arrays, self._given[slot], self._inputs, strict=True):
            given.numpy()[...] = array
            there.copy_(given, non_blocking=True)
        outputs = self._computed()
        if not self._got[slot]:
            self._got[slot] = [self._host(output.shape, torch.float32) for output in outputs]
        for output, got in zip(outputs, self._got[slot], strict=True):
            got.copy_(output, non_blocking=True)
        wait = _after_now(self._device)

        def finish() -> list[FloatArray]:
            wait()
            return [got.numpy() for got in self._got[slot]]

        return finish

    def keep_graph(self, capture: Capture, pool: Any) -> None:
        """Replays a graph from now on, if there is one that gives what the plain call gives for the last inputs."""
        plain = self._computed()
        try:
            replay, outputs = capture(lambda: self._function(*self._inputs), pool)
            replay()
            same = _equal(plain, outputs)
        except RuntimeError as exc:
            log.warning("no CUDA graph for inputs of %s: %s", self._shapes_text(), str(exc).partition("\n")[0])
            return
        if not same:
            log.warning("the CUDA graph for inputs of %s gives other numbers and is not used", self._shapes_text())
            return
        self._replay, self._outputs = replay, outputs

    def _computed(self) -> tuple[Tensor, ...]:
        if self._replay is None:
            return self._function(*self._inputs)
        self._replay()
        return self._outputs

    def _host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self._device.type == "cuda")

    def _shapes_text(self) -> str:
        return ", ".join("x".join(map(str, each.shape)) for each in self._inputs)


def _after_now(device: torch.device) -> Callable[[], None]:
    """What waits until all that was given to the device before is done."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event.synchronize


def _equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def _dtype(array: npt.NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype
