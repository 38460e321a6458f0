"""Numbers as text, for messages, tables and the report."""

from __future__ import annotations

import re

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def format_count(number: int) -> str:
    """Return e.g. `1,234,567`."""
    return f"{number:,}"


def format_counted(number: int, noun: str) -> str:
    """Return e.g. `1 shard` or `1,234 shards`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_share(share: float | None) -> str:
    """Return a share of 1 as percent with one digit, e.g. `12.3 %`; `-` for None.

    Shares that would round to 0 or 100 % without being it become `< 0.1 %` and `> 99.9 %`.
    """
    if share is None:
        return "-"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def format_bytes(number: float) -> str:
    """Return e.g. `512 B` or `1.5 MB`; 1 kB is 1000 bytes."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:,.1f} TB"


def format_duration(seconds: float | None) -> str:
    """Return e.g. `12.3 s`, `2 min 05 s` or `3 h 04 min`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, secs = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {secs:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def parse_duration(text: str) -> float:
    """Return the seconds of e.g. `12h`, `90m`, `1d12h` or `1.5h`.

    Raises:
        ValueError: it is something else, or not more than 0.
    """
    found = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in found)
    if "".join(number + unit for number, unit in found) != text.replace(" ", "") or seconds <= 0:
        raise ValueError(f"{text!r} is not a duration above 0; write e.g. 12h, 90m or 1d12h")
    return seconds
