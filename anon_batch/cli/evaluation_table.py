"""The table of `anon-batch evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from anon_batch.evaluate.measures import Measures, MethodMeasures


def draw_table(measures: Measures) -> Table:
    """Return a table with a row for each measure and a column for each method; without rows that were not measured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    columns = [_figures(column) for column in (measures.originals, *measures.methods.values())]
    for name in ("originals", *measures.methods):
        table.add_column(name, justify="right")
    # Methods first, because the originals lack measures and would change the order.
    for label in dict.fromkeys(label for figures in (*columns[1:], columns[0]) for label in figures):
        cells = [figures.get(label, "") for figures in columns]
        if any(cells):
            table.add_row(label[1], *cells)
    return table


_Label = tuple[str, str]  # section, and what the reader sees


def _figures(measures: MethodMeasures) -> dict[_Label, str]:
    """Return the figures of a method as text; "" for those that were not measured."""
    return {
        **_precision(measures),
        **_reidentification(measures),
        **_identity(measures),
        **_looks(measures),
        **_landmarks(measures),
        **_speed(measures),
    }


def _precision(measures: MethodMeasures) -> dict[_Label, str]:
    found, outcomes = measures.average_precision, measures.outcomes
    lines: dict[_Label, str] = {}
    if found is not None:
        labelled, anonymized = found.labelled_faces, found.anonymized_faces
        lines = {
            ("ap", "average precision, labelled faces"): _number(labelled["all"].average_precision),
            ("ap", "  from 16 px"): _number(labelled["from_16_px"].average_precision),
            ("kept", "precision kept, labelled faces"): _percent(labelled["all"].kept),
            ("kept", "  from 16 px"): _percent(labelled["from_16_px"].kept),
            ("anonymized", "precision kept, anonymized faces"): _percent(anonymized["all"].kept),
            ("anonymized", "  from 16 px"): _percent(anonymized["from_16_px"].kept),
        }
    for difficulty, own in measures.wider.items():
        lines["wider", f"WIDER FACE {difficulty}: average precision"] = _number(own.average_precision)
        lines["wider", f"  {difficulty}: kept"] = _percent(own.kept)
    if measures.missed is not None:
        for value, own in measures.missed["groups"]["all"].items():
            title = "labelled faces that no mask covers" if value == "all" else f"  {value.replace('_', ' ')}"
            lines["missed", title] = _percent(own["share"])
    if outcomes is not None:
        lines["outcomes", "faces anonymized without fallback"] = _percent(outcomes.own_share)
        lines["outcomes", "images withheld"] = f"{outcomes.withheld_images:,}"
    return lines


def _reidentification(measures: MethodMeasures) -> dict[_Label, str]:
    lines: dict[_Label, str] = {}
    for name, found in measures.reidentification.items():
        section, original = f"attack {name}", found.original_gallery
        lines[section, f"re-identified, rank 1 ({name})"] = _percent(original.rank_1)
        lines[section, "  at FAR 1e-2"] = _percent(original.true_accept_rates.get("0.01"))
        lines[section, "  rank 1 by chance"] = _percent(original.chance)
        if found.anonymized_gallery is not None:
            anonymized = found.anonymized_gallery
            lines[section, "  rank 1, anonymized gallery"] = _percent(anonymized.rank_1)
            lines[section, "  at FAR 1e-2, anonymized gallery"] = _percent(anonymized.true_accept_rates.get("0.01"))
        if found.released_gallery is not None:
            lines[section, "  rank 1, gallery of the same release"] = _percent(found.released_gallery.rank_1)
    return lines


def _identity(measures: MethodMeasures) -> dict[_Label, str]:
    lines: dict[_Label, str] = {}
    for name, found in measures.identity.items():
        section = f"identity {name}"
        lines[section, f"identity: similarity, same seed ({name})"] = _number(found.same_seed.mean)
        lines[section, "  similarity, other seed"] = _number(found.other_seed.mean)
        lines[section, "  equal error rate"] = _percent(found.equal_error_rate)
        lines[section, "  equal error rate, seed alone"] = _percent(found.equal_error_rate_of_seed)
        lines[section, "  similarity to its original"] = _number(found.own_original.mean)
        lines[section, "  similarity to other persons' originals"] = _number(found.others_original.mean)
        lines[section, "  similarity of different originals"] = _number(found.different_originals.mean)
    return lines


def _looks(measures: MethodMeasures) -> dict[_Label, str]:
    lines: dict[_Label, str] = {}
    for name, slices in measures.probe.items():
        for part, found in slices.items():
            low, high = found.interval
            title = f"replaced or not, probe AUC ({name})" if part == "all" else f"  {part}"
            lines[f"probe {name}", title] = f"{found.auc:.3f} ({low:.2f}-{high:.2f})"
    if measures.seam is not None and measures.seam.faces:
        lines["seam", "seam: gradient across / along"] = _number(measures.seam.ratio)
    return lines


def _landmarks(measures: MethodMeasures) -> dict[_Label, str]:
    lines: dict[_Label, str] = {}
    for name, distance in measures.frechet.items():
        lines["frechet", f"Frechet distance ({name})"] = f"{distance.distance:.4f}"
    for name, errors in measures.landmarks.items():
        lines[name, f"landmark error ({name})"] = _number(errors.median)
        lines[name, "  its 90th percentile"] = _number(errors.p90)
        lines[name, "  faces not detected again"] = _percent(errors.undetected_share)
    return lines


def _speed(measures: MethodMeasures) -> dict[_Label, str]:
    if measures.speed is None:
        return {}
    alone = measures.speed.alone
    return {
        ("speed", "faces/s"): "" if alone is None else f"{alone.faces_per_s:,.0f}",
        ("speed", "  with all checks"): f"{measures.speed.with_checks.faces_per_s:,.0f}",
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
