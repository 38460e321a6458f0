"""Every numeric call between a mask and the output gives the same bits wherever its memory lies and on any threads.

OpenCV's distanceTransform and gemm do not, so the package does not call them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from shifted_memory import numpy_memory_at, shifted

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks
from anon_batch.imaging.jpeg.dct import transform_blocks

Call = Callable[..., Any]

SIDES = (37, 128, 256)
KERNEL = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]], np.float32)
AFFINE = np.array([[0.83, 0.31, -3.7], [-0.31, 0.83, 9.1]])
WEIGHTS = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.uniform(0, 255, shape).astype(np.float32)


def levels(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def _calls() -> Iterator[tuple[str, Call, tuple[np.ndarray[Any, Any], ...]]]:
    for side in SIDES:
        for name, call, arrays in (*_opencv(side), *_numpy(side)):
            yield f"{name}-{side}", call, arrays
    points = RANDOM.uniform(0, 160, (810, 4, 2))
    yield "similarity", lambda p: landmarks.similarity(p, np.broadcast_to(points[0], p.shape)), (points,)
    yield "apply", lambda p: landmarks.apply(landmarks.similarity(p, p[::-1]), p), (points,)
    yield "inverse", landmarks.inverse, (AFFINE,)
    yield "norm", lambda p: np.linalg.norm(p, axis=2), (points,)
    yield "maps", lambda p: landmarks.maps(p, 128, 3.0), (points[:1, :1].repeat(5, axis=1),)
    whole = RANDOM.integers(-31, 32, (810, 468)).astype(np.float32), RANDOM.integers(-7, 8, (468, 3)).astype(np.float32)
    yield "whole-products", _whole_products, whole
    yield "distances", lambda t, own: ((t - own) ** 2).sum(axis=1), (floats(810, 19), RANDOM.normal(size=19))
    yield "quantile", lambda d: np.quantile(d, 0.4), (RANDOM.normal(size=810),)
    yield "blocks", transform_blocks, (floats(5, 31, 8, 8),)
    yield "draws", lambda _: keys.generator(5).standard_normal(64), (floats(1),)
    yield "gumbel", lambda _: keys.generator(5).gumbel(size=405), (floats(1),)


def _opencv(side: int) -> Iterator[tuple[str, Call, tuple[np.ndarray[Any, Any], ...]]]:
    colours, grey, pixels = floats(side, side, 3), floats(side, side), levels(side, side, 3)
    for kind, array in (("float", colours), ("grey", grey), ("uint8", pixels), ("four", floats(side, side, 4))):
        for method in ("INTER_AREA", "INTER_LINEAR", "INTER_CUBIC"):
            flag = getattr(cv2, method)
            for change, size in (
                ("down", (side // 3, side // 3 + 5)),
                ("half", (side // 2,) * 2),
                ("up", (2 * side, side + 9)),
            ):
                yield f"{method}-{change}-{kind}", lambda a, f=flag, s=size: cv2.resize(a, s, interpolation=f), (array,)
        for inverse in (0, cv2.WARP_INVERSE_MAP):
            flags = cv2.INTER_LINEAR | inverse
            yield (
                f"warpAffine-{inverse}-{kind}",
                lambda a, f=flags, s=side: cv2.warpAffine(
                    a, AFFINE, (s, s + 3), flags=f, borderMode=cv2.BORDER_REPLICATE
                ),
                (array,),
            )
    for sigma in (0.6, 1.3, 2.5, 10.0):
        yield f"GaussianBlur-{sigma}", lambda a, s=sigma: cv2.GaussianBlur(a, (0, 0), s), (colours,)
        yield f"GaussianBlur-grey-{sigma}", lambda a, s=sigma: cv2.GaussianBlur(a, (0, 0), s), (grey,)
    yield (
        "sepFilter2D",
        lambda a: cv2.sepFilter2D(a, cv2.CV_32F, WEIGHTS, WEIGHTS, borderType=cv2.BORDER_CONSTANT),
        (colours,),
    )
    yield "filter2D", lambda a: cv2.filter2D(a, cv2.CV_32F, KERNEL, borderType=cv2.BORDER_REPLICATE), (colours,)
    yield "RGB2LAB", lambda a: cv2.cvtColor(a, cv2.COLOR_RGB2LAB), (colours / 255,)
    yield "LAB2RGB", lambda a: cv2.cvtColor(a, cv2.COLOR_LAB2RGB), (cv2.cvtColor(colours / 255, cv2.COLOR_RGB2LAB),)
    yield "RGB2GRAY", lambda a: cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), (colours / 255,)
    yield "transform", lambda a: cv2.transform(a, KERNEL), (colours,)
    yield "medianBlur", lambda a: cv2.medianBlur(a, 7), (pixels,)
    yield "blur", lambda a: cv2.blur(a, (7, 7)), (grey,)
    yield "Sobel", lambda a: cv2.Sobel(a, cv2.CV_32F, 1, 0, scale=0.25), (grey,)
    yield "erode", lambda a: cv2.erode(a, np.ones((3, 3), np.uint8)), (pixels,)
    yield (
        "warpAffine-cubic",
        lambda a: cv2.warpAffine(a, AFFINE, (side, side + 3), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        (floats(side, side, 4),),
    )
    yield "morphologyEx", lambda a: cv2.morphologyEx(a, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)), (pixels,)
    yield "split", lambda a: np.stack(cv2.split(a)), (pixels,)


def _numpy(side: int) -> Iterator[tuple[str, Call, tuple[np.ndarray[Any, Any], ...]]]:
    colours, weight = floats(side, side, 3), floats(side, side) / 255
    yield "einsum-colours", lambda a, w: np.einsum("hwc,hw->c", a, w), (colours, weight)
    yield "einsum-doubles", lambda a, w: np.einsum("hwc,hw->c", a, w), (colours, weight.astype(np.float64))
    yield "einsum-luma", lambda a: np.einsum("chw,c->hw", a, WEIGHTS[:3].astype(np.float32)), (floats(3, side, side),)
    yield "sum", lambda w: w.sum(), (weight,)
    yield "mean-axes", lambda a: a.mean(axis=(0, 1)), (colours,)
    yield "std-axes", lambda a: a.std(axis=(0, 1)), (colours,)
    yield "std", lambda a: a.std(), (colours,)
    yield "gradients", lambda a, w: ((np.diff(a, axis=1)[:-1] ** 2) * w[:-1, :-1]).sum(), (weight, weight)
    yield "percentile", lambda w: np.percentile(w, 95), (weight,)
    yield "partition", lambda w: np.partition(w.ravel(), w.size // 8)[w.size // 8], (weight,)
    yield "median", lambda a, w: np.median(a[w > 0.3], axis=0), (colours, weight)
    yield "sum-float32", lambda w: np.float32((w * w).sum()), (weight,)
    yield "nearest", lambda w: np.stack(distance_transform_edt(w > 0.02, return_indices=True)[1]), (weight,)
    yield "power", lambda w: w ** np.float32(0.73), (weight,)
    yield "hypot", lambda w: np.hypot(w, w.T), (weight,)
    yield "arctan2", lambda w: np.arctan2(w - 0.5, w.T - 0.5), (weight,)
    yield "exp", lambda w: np.exp(-w), (weight,)
    yield "exp-doubles", lambda w: np.exp(-w.astype(np.float64)), (weight,)
    yield "log", lambda w: np.log(w + np.float32(0.1)), (weight,)
    yield "distance", lambda w: distance_transform_edt(w > 0.02).astype(np.float32), (weight,)
    yield "torch", _convolved, (floats(1, 8, side, side),)


def _whole_products(matrix: Any, columns: Any) -> Any:
    """Return products of whole numbers, which are exact in any order, for all columns at once."""
    return (torch.from_numpy(matrix) @ torch.from_numpy(columns)).numpy()


def _convolved(values: Any) -> Any:
    """Return a convolution and a group norm in one thread, as `gan` runs them, whatever number torch has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    kernel = torch.linspace(-1, 1, 8 * 8 * 9).reshape(8, 8, 3, 3)
    copied = torch.tensor(values).contiguous(memory_format=torch.channels_last)
    out = torch.nn.functional.group_norm(torch.nn.functional.conv2d(copied, kernel, padding=1), 1)
    torch.set_num_threads(threads)
    return out.numpy()


CALLS = {name: (call, arrays) for name, call, arrays in _calls()}


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    opencv, torchs = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(opencv)
    torch.set_num_threads(torchs)


@pytest.mark.parametrize("name", CALLS)
def test_bits_depend_on_neither_memory_nor_threads(name: str) -> None:
    call, arrays = CALLS[name]
    expected = None
    for threads in (1, 2, 3, 4):
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
        for source in (0, 4, 8, 16, 60):
            given = [shifted(array, source - source % array.itemsize) for array in arrays]
            for result in (0, 8, 16, 48):
                with numpy_memory_at(result):
                    bits = np.ascontiguousarray(call(*given)).tobytes()
                expected = expected or bits
                assert bits == expected, f"{threads} threads, input at {source}, output at {result}"


def test_the_check_notices_a_call_that_depends_on_memory() -> None:
    y, x = np.mgrid[:131, :131]
    blob = (((x - 65) / 50) ** 2 + ((y - 60) / 40) ** 2 < 1).astype(np.uint8)
    results = set()
    for threads, offset in ((1, 0), (1, 4), (1, 8), (2, 0)):
        cv2.setNumThreads(threads)
        with numpy_memory_at(offset):
            results.add(cv2.distanceTransform(blob, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).tobytes())
    if len(results) == 1:
        pytest.skip("this build of OpenCV computes distances without IPP, which depends on memory")
