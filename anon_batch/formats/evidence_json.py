"""evaluation.json and review.json: what was measured about a finished release, by a program and by people. Public.

Both files have one format. Every measurement adds figures, tables and curves by name. The report shows them, gates read figures.
The files hold nothing about a single image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.versions import explain_other_version
from anon_batch.stats.figure import Figure

EVIDENCE_VERSION = 1

Cell = str | int | float | None | Figure


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of the same kind for several things.

    Args:
        title: one plain sentence.
        columns: headings.
        rows: one cell for each column.
        note: what a reader must know, for example how the intervals were computed.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row has {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a plot.

    Args:
        title: one plain sentence.
        x, y: what the axes show.
        lines: name of a line -> its points (x, y).
        log_x, log_y: whether an axis is logarithmic.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        for name, points in self.lines.items():
            if not all(math.isfinite(number) for point in points for number in point):
                raise ValueError(f"curve {self.title!r}, line {name!r}: a point is not finite")


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows were measured: so many `rows` of all `of`, drawn with `seed`."""

    rows: int
    of: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measures of a release.

    Args:
        run_id: of the run that wrote the release.
        created_at: UTC, ISO 8601.
        tool_version: of this package.
        stats_sha256: digest of the release's stats.json when it was measured, so that measures of another state are recognized.
        sample: which rows were measured.
        figures: dotted name, for example `missed.all` -> figure.
        tables: name -> table.
        curves: name -> curve.
        models: `name@sha256` of the networks that measured.
        skipped: measure -> why it was not taken, and what it needs.
    """

    run_id: str
    created_at: str
    tool_version: str
    sample: Sample
    stats_sha256: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the content of the file."""
        content = {
            "version": EVIDENCE_VERSION,
            "run_id": self.run_id,
            "created_at": self.created_at,
            "tool_version": self.tool_version,
            "stats_sha256": self.stats_sha256,
            "sample": {"rows": self.sample.rows, "of": self.sample.of, "seed": self.sample.seed},
            "figures": {name: own.to_json() for name, own in self.figures.items()},
            "tables": {name: _table_to_json(own) for name, own in self.tables.items()},
            "curves": {name: _curve_to_json(own) for name, own in self.curves.items()},
            "models": list(self.models),
            "skipped": dict(self.skipped),
        }
        return json.dumps(content, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Evidence:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            read = json.loads(data)
            if (version := read["version"]) != EVIDENCE_VERSION:
                raise ConfigError(explain_other_version(uri, "release", version, EVIDENCE_VERSION))
            return cls(
                run_id=str(read["run_id"]),
                created_at=str(read["created_at"]),
                tool_version=str(read["tool_version"]),
                stats_sha256=str(read["stats_sha256"]),
                sample=Sample(**{name: _whole(read["sample"][name]) for name in ("rows", "of", "seed")}),
                figures={str(name): Figure.from_json(own) for name, own in read["figures"].items()},
                tables={str(name): _table_from_json(own) for name, own in read["tables"].items()},
                curves={str(name): _curve_from_json(own) for name, own in read["curves"].items()},
                models=tuple(str(model) for model in read["models"]),
                skipped={str(name): str(why) for name, why in read["skipped"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"sample: {str(number)[:80]}, expected a whole number from 0")
    return number


def _table_to_json(table: Table) -> dict[str, Any]:
    rows = [[cell.to_json() if isinstance(cell, Figure) else cell for cell in row] for row in table.rows]
    return {"title": table.title, "columns": list(table.columns), "rows": rows, "note": table.note}


def _table_from_json(read: Mapping[str, Any]) -> Table:
    rows = tuple(tuple(_cell(cell) for cell in row) for row in read["rows"])
    return Table(str(read["title"]), tuple(str(name) for name in read["columns"]), rows, str(read["note"]))


def _cell(cell: Any) -> Cell:
    if isinstance(cell, Mapping):
        return Figure.from_json(cell)
    if type(cell) in (str, int, float, type(None)):
        return cell  # type: ignore[no-any-return]
    raise TypeError(f"a cell is {cell!r}")


def _curve_to_json(curve: Curve) -> dict[str, Any]:
    lines = {name: [list(point) for point in points] for name, points in curve.lines.items()}
    axes = {"x": curve.x, "y": curve.y, "log_x": curve.log_x, "log_y": curve.log_y}
    return {"title": curve.title, **axes, "lines": lines}


def _curve_from_json(read: Mapping[str, Any]) -> Curve:
    lines = {str(name): [(float(x), float(y)) for x, y in points] for name, points in read["lines"].items()}
    return Curve(str(read["title"]), str(read["x"]), str(read["y"]), lines, bool(read["log_x"]), bool(read["log_y"]))
