"""Lack of memory is recognised whatever library reports it, and answered by trying with less."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from anon_batch.errors import FailedError, WithheldError, row_error
from anon_batch.memory import in_halves, is_out_of_memory
from anon_batch.storage import Storage


def numpy_array() -> object:
    return np.zeros(1 << 62, np.uint8)


def torch_tensor() -> object:
    return torch.empty(1 << 60, dtype=torch.uint8)


def opencv_image() -> object:
    return cv2.resize(np.zeros((1, 1, 3), np.uint8), (2**31 - 1, 2**26))


def arrow_buffer() -> object:
    return pa.allocate_buffer(1 << 60)


@pytest.mark.parametrize("allocate", [numpy_array, torch_tensor, opencv_image, arrow_buffer])
def test_real_lack_of_memory(allocate: object) -> None:
    with pytest.raises((MemoryError, RuntimeError, cv2.error)) as raised:
        allocate()  # type: ignore[operator]
    assert is_out_of_memory(raised.value), repr(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
    ],
)
def test_reported_lack_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_lack_of_memory_behind_another_error() -> None:
    error = ValueError("the decoder is broken")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("bad size"), OSError("the store is out of memory"), KeyError()])
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_decoder_without_memory_does_not_call_the_file_damaged() -> None:
    assert row_error(MemoryError(), FailedError, "decode").reason == "out_of_memory"
    assert row_error(ValueError(), FailedError, "decode").reason == "decode"
    damaged = FailedError("decode", "a decoder's word")
    damaged.__cause__ = MemoryError()
    assert row_error(damaged, FailedError, "decode").reason == "out_of_memory"
    own = WithheldError("no_boxes")
    assert row_error(own, FailedError, "decode") is own


def test_failed_calls_hold_no_memory_while_the_halves_are_tried() -> None:
    class Large:
        alive = 0

        def __init__(self) -> None:
            Large.alive += 1

        def __del__(self) -> None:
            Large.alive -= 1

    def call(items: object) -> list[int]:
        large = Large()
        assert Large.alive == 1, "the arrays of the failed call are alive"
        if len(items) > 1:  # type: ignore[arg-type]
            raise MemoryError(large is None)
        return [1]

    assert in_halves([1, 2, 3, 4], call, lambda exc: 0) == [1, 1, 1, 1]


def test_a_lack_of_memory_while_a_source_is_read_is_none_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("anon_batch.storage.local.read", fail)
    with pytest.raises(MemoryError):
        Storage().read(f"{tmp_path}/x")
