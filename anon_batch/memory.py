"""What to do when memory runs out: recognise it, and try again with less at a time."""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# How libraries report it that do not raise MemoryError: torch on both devices, cuDNN, cuBLAS, OpenCV, ONNX Runtime.
_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "insufficient memory",
    "failed to allocate memory",
    "alloc_failed",
    "bad_alloc",
    "bad allocation",
)


def is_out_of_memory(exc: BaseException) -> bool:
    """Return whether an exception, or what it was raised from, says that memory ran out."""
    link: BaseException | None = exc
    while link is not None:
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return True
        if isinstance(link, OSError):  # by its number, because a message of a store may hold any words
            if link.errno == errno.ENOMEM:
                return True
        elif any(text in str(link)[:2000].lower() for text in _MESSAGES):
            return True
        link = link.__cause__
    return False


def in_halves(
    items: Sequence[_Item],
    call: Callable[[Sequence[_Item]], Sequence[_Result]],
    failed: Callable[[Exception], _Result],
    passing: tuple[type[Exception], ...] = (),
) -> list[_Result]:
    """Call a function on all items at once; where it raises, on each half of them, down to single items.

    So a batch that does not fit into memory passes in parts, and an item that breaks the function harms no other.

    Args:
        items: at least one.
        call: returns one result for each item.
        failed: returns the result of a single item for which `call` raised this; it is called while the error is handled.
        passing: errors that are of no item, and are raised.
    """
    try:
        return list(call(items))
    except passing:
        raise
    except Exception as exc:
        if len(items) == 1:
            return [failed(exc)]
        lacks_memory = is_out_of_memory(exc)
    # Not in the except clause, because the error keeps the arrays of the failed call alive.
    if lacks_memory:
        free_memory()
    middle = len(items) // 2
    return [*in_halves(items[:middle], call, failed, passing), *in_halves(items[middle:], call, failed, passing)]


def free_memory() -> None:
    """Give back what only reference cycles hold, such as the frames of an error, and what torch keeps on a GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
