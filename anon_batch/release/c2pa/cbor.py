"""The part of CBOR (RFC 8949) that Content Credentials need: definite lengths, no floating point, shortest numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}
_MAX_DEPTH = 8


class Tagged(NamedTuple):
    """A value with a tag."""

    number: int
    value: Any


def encode(value: Any) -> bytes:
    """Return a value as CBOR.

    Args:
        value: None, a bool, an int, bytes, text, a `Tagged`, a list, or a mapping, which keeps its order.

    Raises:
        TypeError: another value.
    """
    for code, simple in _SIMPLE.items():
        if value is simple:
            return bytes([code])
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, Tagged):
        return _head(6, value.number) + encode(value.value)
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, Mapping):
        return _head(5, len(value)) + b"".join(encode(part) for item in value.items() for part in item)
    raise TypeError(f"{type(value).__name__} has no form in CBOR here")


def decode(data: bytes) -> Any:
    """Return the only value in the data; a map as dict, a tag as `Tagged`.

    Raises:
        ValueError: damaged, or of a kind that `encode` does not write.
    """
    value, end = _decode(data, 0, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the value")
    return value


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    extra = next(power for power in range(4) if number < 1 << (8 << power))
    return bytes([major << 5 | 24 + extra]) + number.to_bytes(1 << extra, "big")


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data) or depth > _MAX_DEPTH:
        raise ValueError("cut, or nested too deep")
    if data[at] in _SIMPLE:
        return _SIMPLE[data[at]], at + 1
    major, number, at = _decode_head(data, at)
    if major in (0, 1):
        return (number if major == 0 else -1 - number), at
    if major in (2, 3):
        if at + number > len(data):
            raise ValueError("cut")
        raw = data[at : at + number]
        return (raw if major == 2 else raw.decode()), at + number
    if major == 6:
        value, at = _decode(data, at, depth + 1)
        return Tagged(number, value), at
    parts: list[Any] = []
    for _ in range(number * (2 if major == 5 else 1)):
        part, at = _decode(data, at, depth + 1)
        parts.append(part)
    if major == 4:
        return parts, at
    if not all(isinstance(key, (int, str)) for key in parts[::2]):
        raise ValueError("keys other than numbers and text")
    return dict(zip(parts[::2], parts[1::2], strict=True)), at


def _decode_head(data: bytes, at: int) -> tuple[int, int, int]:
    major, short = data[at] >> 5, data[at] & 31
    if major == 7 or short > 27:
        raise ValueError(f"byte {data[at]:#04x}")
    if short < 24:
        return major, short, at + 1
    size = 1 << (short - 24)
    if at + 1 + size > len(data):
        raise ValueError("cut")
    return major, int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
