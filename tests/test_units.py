"""Numbers as text."""

from __future__ import annotations

import pytest

from anon_batch.units import format_bytes, format_count, format_duration, format_share, parse_duration


def test_counts() -> None:
    assert format_count(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0.44, "0.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0, "0.0 %"), (1e-6, "< 0.1 %"), (0.1234, "12.3 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_shares_never_round_to_none_or_all(share: float | None, text: str) -> None:
    assert format_share(share) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e6, "1.5 MB"), (2e9, "2.0 GB"), (3e15, "3,000.0 TB")],
)
def test_bytes(number: float, text: str) -> None:
    assert format_bytes(number) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("12h", 43200), ("1d12h", 129_600), ("1.5h", 5400), ("1h 30m", 5400)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "0h", "-1h", "12 hours", "1h30", "1h;", "one h", "1e3h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write e\.g\. 12h"):
        parse_duration(text)
