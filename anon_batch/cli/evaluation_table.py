"""The table of `anon-batch evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from anon_batch.cli.utility_lines import utility_rows

if TYPE_CHECKING:
    from anon_batch.evaluate.measures import Measures, MethodMeasures
    from anon_batch.stats.figure import Figure


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
        **utility_rows(measures.utility),
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


def verdicts(measures: Measures) -> list[str]:
    """Return a sentence for each method about the strongest attacker on the faces alone."""
    lines = []
    for name, method in measures.methods.items():
        if method.reidentification is None:
            continue
        scene, verdict = method.reidentification.face_alone, method.reidentification.verdict
        best = scene.strongest
        if best is None or best.rank_1.value is None:
            lines.append(f"{name}: nobody to recognise, because every image was withheld")
            continue
        found = (
            f"{name}: by the anonymized face the strongest attacker ({best.attack}, {best.embedder}) recognises "
            f"{best.rank_1.value:.1%} of {scene.persons} persons, chance {scene.chance:.1%}"
        )
        if verdict == "too few persons":
            lines.append(f"{found}: too few persons to tell")
        else:
            least = scene.least_recognisable or 1.0
            lines.append(f"{found}: {verdict} (p = {best.p_value:.4f}; less than {least:.1%} would not show)")
    return lines


def _reidentification(measures: MethodMeasures) -> dict[_Label, str]:
    found = measures.reidentification
    if found is None:
        return {}
    lines: dict[_Label, str] = {}
    scenes = {"face alone": found.face_alone, "whole image": found.whole_image, "surroundings": found.surroundings}
    for name, scene in scenes.items():
        best = None if scene is None else scene.strongest
        if scene is None or best is None:
            continue
        lines[name, f"re-identified, {name}: rank 1"] = _percent(best.rank_1.value)
        lines[name, "  95 % interval"] = _interval(best.rank_1)
        lines[name, "  by"] = f"{best.attack}, {best.embedder}"
        if name == "surroundings":
            continue
        lines[name, "  chance"] = _percent(scene.chance)
        lines[name, "  p, corrected"] = f"{best.p_value:.4f}"
        for rate, figure in best.false_non_match.items():
            shown = "below the resolution" if figure.value is None else _percent(figure.value)
            lines[name, f"  FNMR at FMR {rate}"] = shown
        for attack in dict.fromkeys(own.attack for own in scene.attackers):
            own = next(one for one in scene.attackers if one.attack == attack)
            lines[name, f"  rank 1, {attack}"] = _percent(own.rank_1.value)
    return lines


def _interval(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:.1%} to {figure.high:.1%}"


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
