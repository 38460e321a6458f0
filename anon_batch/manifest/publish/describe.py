"""Say in words which columns are published and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.manifest.slices import is_slice

_SHOWN = 30


def describe_columns(report: Mapping[str, Any]) -> list[str]:
    """Return lines for the terminal.

    Args:
        report: as `ColumnFilter.report` returns it; empty gives no line.
    """
    published, withheld, blanked = (report.get(key) or {} for key in ("published", "withheld", "blanked"))
    lines = []
    if published:
        lines.append(f"columns published: {_join(published)}")
    slices = [name for name in withheld if is_slice(name)]
    if slices:
        lines.append(f"columns counted and not published: {_join(slices)}")
    if others := {name: why for name, why in withheld.items() if name not in slices}:
        shown = _join([f"{name} ({why})" for name, why in others.items()])
        lines.append(f"columns not published: {shown}; to publish one all the same, name it in `publish.columns`")
    for name, kinds in list(blanked.items())[:_SHOWN]:
        if name not in withheld:
            count = sum(kinds.values())
            lines.append(f"{count:,} {'value' if count == 1 else 'values'} of {name} left out ({', '.join(kinds)})")
    return lines


def _join(names: Any) -> str:
    shown = list(names)
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f", and {more:,} more" if more > 0 else "")
