"""The entries of the worksheet's cells: a measured number, a count, words of the owner, or what is missing and needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anon_batch.stats.figure import Figure

RUN = "anon-batch run JOB"
State = Literal["measured", "counted", "not_measured", "stated", "not_stated"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer.

    Args:
        state: `measured` on a sample or with labels, `counted` over all, `stated` by the owner, or what is missing.
        what: the number or the words answer this.
        value, low, high: number and its 95 % interval.
        measure: what the value is, a share of 1 or another number.
        n, unit: how many of what it rests on.
        source: file of the release, and name in it.
        command: that measured it, or would.
        text: the owner's words.
        needs: what an answer takes, if there is none.
        note: what a reader must know.
    """

    state: State
    what: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    measure: Literal["", "share", "number"] = ""
    n: int | None = None
    unit: str = ""
    source: str = ""
    command: str = ""
    text: str = ""
    needs: str = ""
    note: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether it holds a number or words."""
        return self.state in ("measured", "counted", "stated")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value; what is empty is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None and value != ""}


def from_figure(figure: Figure, what: str, source: str, command: str, needs: str) -> Entry:
    """Return a figure as an entry; one without a value says why and what it needs."""
    if figure.value is None or figure.n is None:
        return Entry("not_measured", what, source=source, command=command, needs=needs, note=figure.note)
    note = figure.note
    if figure.low is None and figure.high is None:
        note = f"no interval; {note}" if note else "no interval"
    return Entry(
        "measured",
        what,
        figure.value,
        figure.low,
        figure.high,
        "share",
        figure.n,
        figure.unit,
        source,
        command,
        note=note,
    )


def count(what: str, number: int, of: int, unit: str, source: str, note: str = "", command: str = RUN) -> Entry:
    """Return a number counted over all `of` of `unit`: it has no interval, as nothing is estimated."""
    return Entry("counted", what, number, measure="number", n=of, unit=unit, source=source, command=command, note=note)


def share(what: str, part: int, whole: int, unit: str, source: str, note: str = "", command: str = RUN) -> Entry:
    """Return a share counted over the whole; of nothing there is no share, so that the number is returned."""
    if not whole:
        return count(what, part, whole, unit, source, note, command)
    value, note = part / whole, "; ".join(filter(None, (f"{part:,} of {whole:,}", note)))
    return Entry("counted", what, value, measure="share", n=whole, unit=unit, source=source, command=command, note=note)


def not_measured(what: str, needs: str) -> Entry:
    """Return that nothing measures this, and what would."""
    return Entry("not_measured", what, needs=needs)


def said(compliance: Mapping[str, str | None], key: str, what: str) -> Entry:
    """Return what the owner states under a key of `compliance`."""
    source, text = f"run.json: compliance.{key}", compliance.get(key)
    if text is None:
        return Entry("not_stated", what, source=source, needs=f"`compliance.{key}` in the job")
    return Entry("stated", what, source=source, text=text)
