"""Find ids that Windows or macOS cannot store as they are, so that unpacking a release there loses images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.manifest.names import hashes

_WINDOWS = (
    r'[<>:"|?*]|[ .](/|$)|(^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.[^/]*)?(/|$)'  # reserved characters, ends, devices
)


class UnportableIds:
    """Count ids that are reserved on Windows, or equal to another one but for upper case or composed accents.

    Attributes:
        reserved_count: ids that Windows refuses.
        example: the first of them.
    """

    def __init__(self) -> None:
        self._folded: list[np.ndarray] = []
        self.reserved_count = 0
        self.example = ""

    def add(self, ids: pa.Array) -> None:
        """Take the next ids."""
        reserved = pc.match_substring_regex(ids, _WINDOWS, ignore_case=True)
        count = pc.sum(reserved).as_py() or 0
        if count and not self.example:
            self.example = ids.filter(reserved)[0].as_py()
        self.reserved_count += count
        self._folded.append(hashes(pc.utf8_lower(pc.utf8_normalize(ids, form="NFC"))))

    @property
    def equal_count(self) -> int:
        """Ids that a file system without case or accents' forms takes for another one."""
        known = np.sort(np.concatenate(self._folded)) if self._folded else np.zeros(0, np.uint64)
        return int((known[1:] == known[:-1]).sum())


def find_unportable(columns: Iterable[pa.Array]) -> UnportableIds:
    """Return what is not portable among all ids, which are unique."""
    found = UnportableIds()
    for ids in columns:
        found.add(ids)
    return found
