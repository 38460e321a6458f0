"""gates.json: the limits that the job set for its release, and whether they were kept."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Literal, get_args

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.versions import explain_other_version

GATES_VERSION = 1
GateKind = Literal["at_most", "at_least"]


@dataclasses.dataclass(frozen=True, slots=True)
class GateResult:
    """One limit and the figure that it was compared with.

    Args:
        name: of the gate, for example `withheld` or `recall`.
        kind: whether `limit` is an upper or a lower bound.
        limit: from the job.
        value: the measured figure; None if it was not measured, which never passes.
        passed: whether the limit was kept.
        note: what a reader should know, for example "not measured".
        evidence: the file of the release that the figure is from, for example `stats.json`; "" if there is none.
    """

    name: str
    kind: GateKind
    limit: float
    value: float | None
    passed: bool
    note: str = ""
    evidence: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Gates:
    """All gates of a release, in the order of the job."""

    results: tuple[GateResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit was kept."""
        return all(result.passed for result in self.results)

    def to_json(self) -> bytes:
        """Return the content of gates.json."""
        results = [dataclasses.asdict(result) for result in self.results]
        return json.dumps({"version": GATES_VERSION, "passed": self.passed, "gates": results}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Gates:
        """Parse gates.json; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            if (version := fields["version"]) != GATES_VERSION:
                raise ConfigError(explain_other_version(uri, "release", version, GATES_VERSION))
            gates = cls(tuple(GateResult(**result) for result in fields["gates"]))
            for result in gates.results:
                _check(result)
            if fields["passed"] is not gates.passed:
                raise ValueError("`passed` contradicts the gates")
        except (ValueError, KeyError, TypeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return gates


def _check(result: GateResult) -> None:
    if not all(isinstance(text, str) for text in (result.name, result.note, result.evidence)):
        raise TypeError("name, note and evidence must be text")
    if result.kind not in get_args(GateKind) or type(result.passed) is not bool:
        raise TypeError(f"gate {result.name}: unknown kind, or `passed` is not true or false")
    if type(result.limit) not in (int, float) or (result.value is not None and type(result.value) not in (int, float)):
        raise TypeError(f"gate {result.name}: limit and value must be numbers")
    if not math.isfinite(result.limit) or not math.isfinite(result.value or 0):
        raise ValueError(f"gate {result.name}: limit and value must be finite")
    if result.value is None and result.passed:
        raise ValueError(f"gate {result.name}: passed without a value")
