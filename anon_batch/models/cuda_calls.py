"""Calls of a network on CUDA: page-locked memory in both directions, prefetch of the next call, and CUDA graphs.

Not measured on a GPU: this code has never run on CUDA; the tests cover its bookkeeping on the CPU.

A graph launches all kernels of a call at once, because the kernels of a small network take less time than their launches.
It is used only if it gives the same bits as the plain call.
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
_GRAPH_FROM_USE = 3  # uses of a shape before its graph is captured, because rare shapes are not worth one

Arrays = tuple[npt.NDArray[Any], ...]
Function = Callable[..., tuple[Tensor, ...]]
Capture = Callable[[Callable[[], tuple[Tensor, ...]], Any], tuple[Callable[[], None], tuple[Tensor, ...]]]


@contextmanager
def half_on_cuda() -> Iterator[None]:
    """Compute in float16 with deterministic kernels."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    # Without autocast's cache, because a cached cast weight would lie in the memory pool of the graph that was captured with it.
    with flags, torch.autocast("cuda", torch.float16, cache_enabled=False):
        yield


def capture_graph(call: Callable[[], tuple[Tensor, ...]], pool: Any) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Capture a CUDA graph of a call whose tensors keep their addresses.

    Args:
        call: has run before, so that libraries are loaded and algorithms chosen.
        pool: memory pool of all graphs, of which one runs at a time.

    Returns:
        A function that replays the graph, and the tensors that contain its results afterwards.

    Raises:
        RuntimeError: the call contains an operation that a graph cannot record.
    """
    graph = torch.cuda.CUDAGraph()
    # thread_local, because other threads of the process may allocate on the device meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        outputs = call()
    return graph.replay, outputs


class CudaCalls:
    """Call one function, with separate buffers for each input shape.

    Args:
        function: maps tensors on the device to float32 tensors there, deterministically. It runs without gradients.
        device: of the calls; on `cpu`, as in tests, memory is not page-locked and there is no waiting.
        capture: captures a graph of a call; None to use no graphs.
    """

    def __init__(self, function: Function, device: torch.device, capture: Capture | None = capture_graph) -> None:
        self._function = function
        self._device = device
        self._capture = capture
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._shapes: OrderedDict[tuple[tuple[int, ...], ...], _ShapeBuffers] = OrderedDict()

    def __call__(self, calls: Iterable[Arrays]) -> Iterator[list[FloatArray]]:
        """Make calls, one ahead of the consumer.

        Args:
            calls: the arguments of each, in any shapes.

        Yields:
            The function's results, in the order of the calls. The arrays are valid until the next ones are requested.
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
        shape = self._shapes.pop(key, None) or _ShapeBuffers(self._function, arrays, self._device)
        self._shapes[key] = shape
        if len(self._shapes) > _KEPT_SHAPES:
            self._shapes.popitem(last=False)
        finish = shape.start(arrays)
        if shape.uses == _GRAPH_FROM_USE and self._capture is not None:
            shape.try_graph(self._capture, self._pool)
        return finish


class _ShapeBuffers:
    """Buffers for calls of one shape."""

    def __init__(self, function: Function, arrays: Arrays, device: torch.device) -> None:
        self._function = function
        self._device = device
        self._inputs = [torch.empty(array.shape, dtype=_dtype(array), device=device) for array in arrays]
        self._host_inputs = [
            [self._host_buffer(each.shape, each.dtype) for each in self._inputs] for _ in range(_IN_FLIGHT)
        ]
        self._host_outputs: list[list[Tensor]] = [[] for _ in range(_IN_FLIGHT)]
        self._replay: Callable[[], None] | None = None
        self._outputs: tuple[Tensor, ...] = ()
        self.uses = 0

    def start(self, arrays: Arrays) -> Callable[[], list[FloatArray]]:
        """Start a call; return a function that waits for its results."""
        slot = self.uses % _IN_FLIGHT
        self.uses += 1
        for array, host, device_input in zip(arrays, self._host_inputs[slot], self._inputs, strict=True):
            host.numpy()[...] = array
            device_input.copy_(host, non_blocking=True)
        outputs = self._compute()
        if not self._host_outputs[slot]:
            self._host_outputs[slot] = [self._host_buffer(output.shape, torch.float32) for output in outputs]
        for output, host in zip(outputs, self._host_outputs[slot], strict=True):
            host.copy_(output, non_blocking=True)
        wait = _record_event(self._device)

        def finish() -> list[FloatArray]:
            wait()
            return [host.numpy() for host in self._host_outputs[slot]]

        return finish

    def try_graph(self, capture: Capture, pool: Any) -> None:
        """Capture a graph and use it from now on, if it gives the same bits as the plain call for the last inputs."""
        plain = self._compute()
        try:
            replay, outputs = capture(lambda: self._function(*self._inputs), pool)
            replay()
            same = _equal(plain, outputs)
        except RuntimeError as exc:
            log.warning("no CUDA graph for inputs of %s: %s", self._shapes_text(), str(exc).partition("\n")[0])
            return
        if not same:
            log.warning("the CUDA graph for inputs of %s gives other results and is not used", self._shapes_text())
            return
        self._replay, self._outputs = replay, outputs

    def _compute(self) -> tuple[Tensor, ...]:
        if self._replay is None:
            return self._function(*self._inputs)
        self._replay()
        return self._outputs

    def _host_buffer(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self._device.type == "cuda")

    def _shapes_text(self) -> str:
        return ", ".join("x".join(map(str, each.shape)) for each in self._inputs)


def _record_event(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until all work submitted to the device so far is done."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event.synchronize


def _equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def _dtype(array: npt.NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype
