"""The figures and tables of a `UtilityState`, by the names that reports and gates use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from anon_batch.anonymize.faces.donors import TRAITS
from anon_batch.evaluate.utility.canary import Canary, Change, measure_canary
from anon_batch.evaluate.utility.distances import frechet_figure, kernel_distance
from anon_batch.evaluate.utility.groups import gap_figure, group_rows, group_table
from anon_batch.evaluate.utility.naturalness import everyone, probe_figures, seam_figure
from anon_batch.evaluate.utility.sampled_rows import Columns
from anon_batch.evaluate.utility.state import CHANGED, LABEL, UtilityState, after, before
from anon_batch.formats.evidence_json import Table
from anon_batch.stats.figure import Figure

PROBE_KINDS = ("detector", "noise")
MOST_CLASSES = 2_000
_NO_FEATURES = "not measured: give a feature network (--features FILE)"
_NO_LABELS = (
    "not measured: give the manifest's column of classes (--label-column NAME) and a feature network (--features FILE)"
)


@dataclass(slots=True)
class Findings:
    """Measures by name, as `formats.evidence_json.Evidence` holds them."""

    figures: dict[str, Figure] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)


def utility_findings(
    state: UtilityState, networks: tuple[str, ...] = (), *, seed: int = 0, named: bool = True
) -> Findings:
    """Compute every figure; one that cannot be measured says why.

    Args:
        state: of all images.
        networks: names of the feature networks; the canary uses the first.
        seed: of folds and bootstraps.
        named: whether classes may be named, because the release publishes the column; else they are numbered.
    """
    findings = Findings()
    findings.figures["utility.ap_kept"] = state.detection.figure()
    findings.figures["utility.ap_kept.from_16_px"] = state.detection.figure("from_16_px")
    images, faces = state.images.columns(), state.faces.columns()
    _add_canary(findings, images, networks, named)
    _add_distances(findings, images, faces, networks)
    _add_naturalness(findings, faces, seed)
    _add_groups(findings, faces, seed)
    return findings


def _add_canary(findings: Findings, images: Columns, networks: tuple[str, ...], named: bool) -> None:
    rows = images[LABEL] != "" if images else np.zeros(0, np.bool_)
    found: Canary | str = _NO_LABELS
    if rows.any() and networks:
        labels = images[LABEL][rows]
        classes = len(np.unique(labels))
        if classes > MOST_CLASSES:
            found = f"not measured: {classes:,} classes, at most {MOST_CLASSES:,}; is the column one of classes?"
        else:
            old, new = (images[column(networks[0])][rows] for column in (before, after))
            found = measure_canary(labels, images[CHANGED][rows], old, new)
    if isinstance(found, str):
        missing = found if found.startswith("not measured") else f"not measured: {found}"
        findings.figures["utility.canary"] = Figure.missing(missing)
        return
    how = f"a linear probe on {networks[0]} features"
    for name, change, tested in (
        ("utility.canary", found.on_originals, "originals"),
        ("utility.canary.anonymized", found.on_anonymized, "anonymized images"),
    ):
        findings.figures[name] = _change_figure(
            change, f"change of accuracy of {how} when it learns from anonymized images and is tested on {tested}"
        )
    findings.figures["utility.canary.before"] = Figure(
        found.on_originals.before, n=found.on_originals.rows, unit="images", note=f"accuracy of {how} on originals"
    )
    findings.figures["utility.canary.after"] = Figure(
        found.on_originals.after,
        n=found.on_originals.rows,
        unit="images",
        note="the same, but it learnt from anonymized images",
    )
    flagged = sum(own.flagged for own in found.classes)
    findings.figures["utility.classes.changed"] = Figure(
        flagged, n=len(found.classes), unit="classes", note="classes that changed more than chance explains, after Holm"
    )
    findings.tables["utility.classes"] = _class_table(found, named)


def _change_figure(change: Change, note: str) -> Figure:
    return Figure(change.change, *change.interval, change.rows, "images", note)


def _class_table(canary: Canary, named: bool) -> Table:
    names = sorted(own.name for own in canary.classes)
    rows = tuple(
        (
            own.name if named else f"class {names.index(own.name) + 1}",
            own.changed,
            own.change.before,
            own.change.after,
            _change_figure(own.change, ""),
            own.corrected_p,
            "changed" if own.flagged else "",
        )
        for own in canary.classes
    )
    left_out = f" {canary.left_out} classes have too few images and are left out." if canary.left_out else ""
    return Table(
        "Accuracy of each class before and after, the largest loss first",
        ("class", "share anonymized", "before", "after", "change", "corrected p", "verdict"),
        rows,
        "Both probes answer for the same originals. Exact McNemar test for each class, corrected for all of them (Holm); change "
        f"with its own 95 % interval, not corrected.{left_out}",
    )


def _add_distances(findings: Findings, images: Columns, faces: Columns, networks: tuple[str, ...]) -> None:
    findings.figures["utility.frechet"] = findings.figures["utility.kernel"] = Figure.missing(_NO_FEATURES)
    for at, name in enumerate(networks):
        ending = f".{name}" if at else ""  # because the first network is the headline
        for what, columns, unit in (("", images, "images"), (".faces", faces, "faces")):
            old, new = (columns.get(column(name), np.zeros((0, 1), np.float32)) for column in (before, after))
            for measure, figure in (
                ("frechet", frechet_figure(old, new, unit)),
                ("kernel", kernel_distance(old, new, unit)),
            ):
                note = figure.note if figure.value is None else f"{name} features; {figure.note}"
                findings.figures[f"utility.{measure}{what}{ending}"] = replace(figure, note=note)


def _add_naturalness(findings: Findings, faces: Columns, seed: int) -> None:
    members = everyone(len(next(iter(faces.values()), ())))
    for kind in PROBE_KINDS:
        ending = "" if kind == PROBE_KINDS[0] else f".{kind}"
        figures, _ = probe_figures(faces, kind, {"all": members}, seed)
        findings.figures[f"naturalness.probe{ending}"] = figures["all"]
    findings.figures["naturalness.seam"] = seam_figure(faces, members, seed)


def _add_groups(findings: Findings, faces: Columns, seed: int) -> None:
    tables = {trait: rows for trait in TRAITS if (rows := group_rows(faces, trait, PROBE_KINDS[0], seed))}
    if not tables:
        findings.figures["groups.gap"] = Figure.missing(
            "not measured: no generated face whose traits are known; gan and swap have some"
        )
        return
    findings.figures["groups.gap"] = gap_figure(tables)
    findings.tables |= {f"groups.{trait}": group_table(trait, rows) for trait, rows in tables.items()}
