"""What verify found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_SHOWN_FAULTS = 100


@dataclass(slots=True)
class Verification:
    """Result of a verification; grows while it runs.

    Args:
        rows: rows that the release must account for.
        accounted: rows that a commit accounts for.
        objects: output images that were read and checked.
        statuses: status -> rows.
        faults: what is wrong and where, the first hundred.
        faults_count: number of all faults.
    """

    rows: int
    accounted: int = 0
    objects: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    faults_count: int = 0

    def fault(self, text: str) -> None:
        """Add a fault."""
        self.faults_count += 1
        if len(self.faults) < _SHOWN_FAULTS:
            self.faults.append(text)
