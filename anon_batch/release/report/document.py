"""What the report says, as data: the page and report.json are two renderings of it, so that they cannot differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anon_batch.formats.evidence_json import Cell, Table
from anon_batch.release.report.plots import Plot
from anon_batch.release.report.plots.plot import columns_of, rows_of, units_of
from anon_batch.stats.figure import Figure

REPORT_VERSION = 1
State = Literal["good", "bad", "open", "neutral"]
TextKind = Literal["plain", "note", "warning", "heading"]
Outcome = Literal["passed", "exceeded", "not measured"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; what stands between backticks is a command or a name from a file."""

    text: str
    kind: TextKind = "plain"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: `units` says how the cells of each column are shown: text, code, count, share, number, px, seconds or bytes."""

    name: str
    table: Table
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plot; `data` is the table that it was drawn from, None if that says no more than the plot's own data."""

    name: str
    plot: Plot
    data: Rows | None = None


@dataclass(frozen=True, slots=True)
class NamedFigure:
    """A figure with its dotted name, what it is in words, and how its value is shown."""

    name: str
    label: str
    figure: Figure
    unit: str


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of single figures, each with its own unit."""

    name: str
    title: str
    figures: tuple[NamedFigure, ...]


Block = Text | Rows | Drawn | Figures


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; `id` is its anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One limit of the job in plain words.

    Args:
        name: of the gate.
        says: what the limit says.
        limit, value: what is allowed, and what was measured; shares of 1.
        counted: what the measure rests on, or why there is none.
        outcome: of the comparison.
        advice: what to do; empty if it passed.
    """

    name: str
    says: str
    limit: float
    value: float | None
    counted: str
    outcome: Outcome
    advice: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the three questions with its computed answer; the first of its figures stands for it."""

    id: str
    question: str
    state: State
    chip: str
    sentences: tuple[str, ...]
    figures: tuple[NamedFigure, ...] = ()


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict on the whole: `sentences` are the reasons."""

    state: State
    text: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page says.

    Args:
        name, run_id, tool_version, created_at, finished_at: of the run.
        headline: the verdict on the whole.
        gates: each limit of the job.
        treatment: the weakest treatment of a region; None if there is no region.
        linkage: `holder` of ledger and keys, and `recipient` -> linkage.
        statement: what the release says it is: (aspect, words).
        answers: to the three questions.
        sections: the rest, in order.
    """

    name: str
    run_id: str
    tool_version: str
    created_at: str
    finished_at: str
    headline: Headline
    gates: tuple[GateVerdict, ...]
    treatment: str | None
    linkage: Mapping[str, str]
    statement: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]
    sections: tuple[Section, ...]

    def to_json(self) -> bytes:
        """Return the content of report.json: every number of the page, not rounded."""
        fields = {
            "version": REPORT_VERSION,
            **{name: getattr(self, name) for name in ("name", "run_id", "tool_version", "created_at", "finished_at")},
            "headline": dataclasses.asdict(self.headline),
            "gates": [dataclasses.asdict(gate) for gate in self.gates],
            "treatment": self.treatment,
            "linkage": dict(self.linkage),
            "statement": dict(self.statement),
            "questions": [_answer_json(answer) for answer in self.answers],
            "sections": [
                {"id": own.id, "title": own.title, "blocks": [_block_json(block) for block in own.blocks]}
                for own in self.sections
            ],
        }
        return json.dumps(fields, indent=1, allow_nan=False).encode()


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        **{name: getattr(answer, name) for name in ("id", "question", "state", "chip", "sentences")},
        "figures": _figures_json(answer.figures),
    }


def _figures_json(figures: Sequence[NamedFigure]) -> list[dict[str, Any]]:
    return [{"name": own.name, "label": own.label, "shown_as": own.unit, **own.figure.to_json()} for own in figures]


def _block_json(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"block": "text", "kind": block.kind, "text": block.text}
    if isinstance(block, Figures):
        return {"block": "figures", "name": block.name, "title": block.title, "figures": _figures_json(block.figures)}
    if isinstance(block, Rows):
        table = block.table
        rows = [[cell.to_json() if isinstance(cell, Figure) else cell for cell in row] for row in table.rows]
        own = {
            "title": table.title,
            "note": table.note,
            "columns": table.columns,
            "shown_as": block.units,
            "rows": rows,
        }
        return {"block": "table", "name": block.name, **own}
    plot = block.plot
    own = {"title": plot.title, "about": plot.about, "columns": columns_of(plot), "shown_as": units_of(plot)}
    marks = [dataclasses.asdict(mark) for mark in getattr(plot, "marks", ())]
    points = list(rows_of(plot))
    data = None if block.data is None else _block_json(block.data)
    kind = {"block": "plot", "kind": type(plot).__name__.lower(), "name": block.name}
    return {**kind, **own, "marks": marks, "rows_count": len(points), "rows": points, "data": data}


def table(
    name: str, title: str, columns: Mapping[str, str], rows: Sequence[Sequence[Cell]], note: str = ""
) -> Iterator[Rows]:
    """Yield a table, or nothing without rows; `columns` maps heading -> unit."""
    if rows:
        yield Rows(name, Table(title, tuple(columns), tuple(tuple(row) for row in rows), note), tuple(columns.values()))
