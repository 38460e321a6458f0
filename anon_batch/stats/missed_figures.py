"""The figures and tables of missed faces, from the summary in stats.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.formats.evidence_json import Table
from anon_batch.label_words import noun_of
from anon_batch.records import DEFAULT_LABEL
from anon_batch.stats.capture_recapture import missed_at_least
from anon_batch.stats.figure import Figure
from anon_batch.stats.missed import ALL, FEW_FACES, FROM_MIN_SIDE, LABEL, MIN_SIDE_PX

_INTERVAL = "95 % interval over images, because faces in one image are dependent"
_TITLES = {
    "size": "Labelled faces left uncovered, by longer side.",
    "brightness": f"Labelled faces from {MIN_SIDE_PX} px left uncovered, by mean brightness of the original (0 to 255).",
    "pose": f"Labelled faces from {MIN_SIDE_PX} px left uncovered, by pose.",
    "crowding": f"Labelled faces from {MIN_SIDE_PX} px left uncovered, by labelled faces in the image.",
    LABEL: f"Labelled regions from {MIN_SIDE_PX} px left uncovered, by label.",
}
_POSE_NOTE = "Only a detected face has a known pose, so most missed ones are `unknown`."
NO_TRUTH = "not measured: no published image has ground truth; label a sample, or review one with `anon-batch review`"


def missed_figures(summary: Mapping[str, Any]) -> tuple[dict[str, Figure], dict[str, Table]]:
    """Return name -> figure and name -> table.

    All are of faces, except the figures `missed.label.LABEL`, one for each label that is none, and the table `missed.label`.

    Args:
        summary: of stats.json. Without labelled faces in published images, the figures `missed.all` and `missed.from_16_px`
            say why they are missing, and there is no table. `missed.at_least` comes from two detectors and needs no labels.

    Raises:
        KeyError, TypeError, ValueError: not such a summary.
    """
    missed, at_least = summary["missed"], {"missed.at_least": missed_at_least(summary["found_by"])}
    if missed is None or not missed["images"]:
        figure = Figure.missing(NO_TRUTH)
        return {**{f"missed.{name}": figure for name in (ALL, FROM_MIN_SIDE)}, **at_least}, {}
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]] = missed["groups"]
    figures = {f"missed.{name}": _figure(own, missed) for name, own in groups[ALL].items()} | at_least
    tables = {}
    for dimension, values in groups.items():
        if dimension == ALL or (dimension == LABEL and set(values) == {DEFAULT_LABEL}):
            continue
        named = {
            value: _figure(own, missed, noun_of(value) if dimension == LABEL else "faces")
            for value, own in values.items()
        }
        figures |= {f"missed.{dimension}.{value.replace(' ', '_')}": figure for value, figure in named.items()}
        tables[f"missed.{dimension}"] = _table(dimension, values, named)
    return figures, tables


def _figure(own: Mapping[str, Any], missed: Mapping[str, Any], noun: str = "faces") -> Figure:
    if own["share"] is None:
        return Figure.missing(
            f"not measured: the published images with ground truth ({missed['images']:,}) have no such face"
        )
    few = f"; fewer than {FEW_FACES} {noun}: read the interval, not the value" if own["faces"] < FEW_FACES else ""
    unit, interval = f"labelled {noun} in published images", _INTERVAL.replace("faces", noun)
    return Figure(own["share"], own["low"], own["high"], own["faces"], unit, interval + few)


def _table(dimension: str, values: Mapping[str, Mapping[str, Any]], figures: Mapping[str, Figure]) -> Table:
    title = _TITLES.get(
        dimension, f"Labelled faces from {MIN_SIDE_PX} px left uncovered, by the manifest's `{dimension}`."
    )
    rows = tuple(
        (value, own["faces"], own["uncovered"], own["images"], figures[value]) for value, own in values.items()
    )
    noun = "regions" if dimension == LABEL else "faces"
    notes = [f"{_INTERVAL.replace('faces', noun)}."] + ([] if dimension == LABEL else [_gap(values)])
    if few := [value for value, own in values.items() if own["faces"] < FEW_FACES]:
        notes.append(f"Fewer than {FEW_FACES} {noun}, so read the interval, not the value: {', '.join(few)}.")
    if dimension == "pose":
        notes.append(_POSE_NOTE)
    return Table(title, (dimension, noun, "uncovered", "images", "share"), rows, " ".join(filter(None, notes)))


def _gap(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the largest difference between values that hold enough faces."""
    enough = {value: own["share"] for value, own in values.items() if own["faces"] >= FEW_FACES}
    if len(enough) < 2:
        return f"Fewer than two values have {FEW_FACES} faces, so there is no largest difference to state."
    worst, best = max(enough, key=enough.__getitem__), min(enough, key=enough.__getitem__)
    return f"Largest difference: {100 * (enough[worst] - enough[best]):.1f} points, between {worst} and {best}."
