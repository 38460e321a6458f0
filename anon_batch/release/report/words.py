"""Numbers and hostile text as the report shows them."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime

from anon_batch.stats.figure import Figure
from anon_batch.units import format_bytes, format_count, format_duration

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "−"
# Control characters, marks that turn the direction of text, invisible characters, halves of characters.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Return the text with characters that a page must not hold written as escapes, as JSON writes them."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", unicodedata.normalize("NFC", text))


def format_number(value: float) -> str:
    """Return e.g. `1,234`, `12.3` or `0.0012`: whole numbers in full, others with three digits that count."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-6:
        text = f"{value:.2e}"
    elif float(value).is_integer() or size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 100:
        text = f"{value:.0f}"
    else:
        digits = 3 - max(1, math.floor(math.log10(size)) + 1) if size >= 1 else min(8, 2 - math.floor(math.log10(size)))
        text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if value < 0 and "e" not in text else text


def format_percent(share: float) -> str:
    """Return e.g. `12.3 %`, `0.26 %` or `99.97 %`: with as many digits as a small share, or a small rest, needs."""
    if not math.isfinite(share):
        return "-"
    small, rest = abs(share), abs(1 - share)
    if 0 < small < 0.01:
        digits = min(6, 1 - math.floor(math.log10(100 * small)))
    elif 0 < rest < 0.0005:
        digits = min(6, 1 - math.floor(math.log10(100 * rest)))
    else:
        digits = 1
    text = f"{100 * share:,.{digits}f}"
    return f"{text.replace('-', MINUS)}{SPACE}%"


def format_limit(share: float) -> str:
    """Return a limit as it would be said: `1 %`, `0.05 %`."""
    return f"{100 * share:.12g}{SPACE}%"


def format_value(value: float | int | str | None, unit: str) -> str:
    """Return a value in its unit; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    match unit:
        case "share":
            return format_percent(value)
        case "count":
            return format_count(int(value))
        case "seconds":
            return format_duration(value)
        case "bytes":
            return format_bytes(value)
        case "points":
            return f"{format_percent(value)[:-2]}{SPACE}points"
        case "px":
            return f"{format_number(value)} px"
        case _:
            return format_number(value)


def format_tick(value: float, unit: str) -> str:
    """Return the label of a tick: short, as its neighbours say the rest."""
    if unit in ("share", "points"):
        return f"{100 * value:.6g}{f'{SPACE}%' if unit == 'share' else ''}".replace("-", MINUS)
    size = abs(value)
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if factor <= size < 1e12 and (factor > 1e3 or size >= 1e4):
            return f"{value / factor:.4g} {letter}".replace("-", MINUS)
    if size >= 1e12 or 0 < size < 1e-4:
        return f"{value:.3g}".replace("e+", "e")
    return f"{value:.6g}".replace("-", MINUS)


def format_time(text: str) -> str:
    """Return e.g. `2026-03-05 12:00 UTC` for a time in ISO 8601; another text as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if time.tzinfo is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def format_interval(figure: Figure, unit: str) -> str:
    """Return e.g. `9.1 % to 15.5 %`, `at most 1.0 %`, or nothing."""
    low, high = figure.low, figure.high
    if low is not None and high is not None:
        return f"{format_value(low, unit)} to {format_value(high, unit)}"
    if high is not None:
        return f"at most {format_value(high, unit)}"
    return "" if low is None else f"at least {format_value(low, unit)}"
