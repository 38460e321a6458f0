"""Place arrays at chosen offsets from aligned addresses, so that tests see what depends on memory alignment."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_ALIGNMENT = 64  # bytes; the widest that any library here aligns its own memory to

_CAPSULE_NAME = b"mem_handler"

# Place of PyDataMem_SetHandler in numpy's table of C functions, and the structures that it takes (NEP 49).
_SET_HANDLER = 304
_MALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_CALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_REALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Allocator(ctypes.Structure):
    _fields_ = (
        ("ctx", ctypes.c_void_p),
        ("malloc", _MALLOC),
        ("calloc", _CALLOC),
        ("realloc", _REALLOC),
        ("free", _FREE),
    )


class _Handler(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator))


def shifted(array: npt.NDArray[Any], offset: int) -> npt.NDArray[Any]:
    """Return a copy of the array whose first byte lies `offset` bytes after a 64-byte boundary."""
    room = np.empty(array.nbytes + 2 * _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT + offset % _ALIGNMENT
    view = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@contextlib.contextmanager
def numpy_memory_at(offset: int) -> Iterator[None]:
    """Let every array that numpy (or OpenCV through numpy) allocates in this thread start `offset` bytes after a
    64-byte boundary.

    The C library's malloc gives any multiple of 16.
    """
    handler = _handler(offset)
    capsule_new = ctypes.pythonapi.PyCapsule_New
    capsule_new.restype, capsule_new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    capsule = capsule_new(ctypes.addressof(handler), _CAPSULE_NAME, None)
    # Arrays may outlive the block, and the interpreter: they are freed through their handler.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handler))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))
    atexit.register(_leave_to_the_system, handler)
    before = _set_handler(capsule)
    try:
        yield
    finally:
        _set_handler(before)


def _leave_to_the_system(handler: _Handler) -> None:
    """Free nothing any more, because Python functions cannot be called while the interpreter ends."""
    handler.allocator.free = ctypes.cast(ctypes.CDLL(None).getpid, _FREE)


def _set_handler(capsule: Any) -> Any:
    from numpy._core import _multiarray_umath

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(pointer(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER])
    return function(capsule)


def _handler(offset: int) -> _Handler:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    bases: dict[int, tuple[int, int]] = {}

    def malloc(_: int, size: int) -> int:
        base = libc.malloc(size + 2 * _ALIGNMENT)
        address = base + -base % _ALIGNMENT + offset % _ALIGNMENT
        bases[address] = (base, size)
        return address

    def calloc(_: int, count: int, size: int) -> int:
        address = malloc(0, count * size)
        ctypes.memset(address, 0, count * size)
        return address

    def realloc(_: int, old: int | None, size: int) -> int:
        address = malloc(0, size)
        if old:
            ctypes.memmove(address, old, min(size, bases[old][1]))
            free(0, old, 0)
        return address

    def free(_: int, address: int | None, __: int) -> None:
        if address:
            libc.free(bases.pop(address)[0])

    allocator = _Allocator(None, _MALLOC(malloc), _CALLOC(calloc), _REALLOC(realloc), _FREE(free))
    return _Handler(f"shifted by {offset}".encode(), 1, allocator)
