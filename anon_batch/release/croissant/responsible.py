"""The RAI properties of a release: what was done, measured and stated, in the words of the card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anon_batch.release.licences import all_models, models_of
from anon_batch.release.report.compute import measures_of
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.questions import answer_all
from anon_batch.release.report.verdicts import judge_gates
from anon_batch.release.report.words import format_interval, format_value
from anon_batch.release.words.limits import list_limits
from anon_batch.release.words.owner import NOT_STATED
from anon_batch.release.words.statement import statement_of
from anon_batch.stats.figure import Figure
from anon_batch.stats.missed import LABEL
from anon_batch.stats.missed_figures import missed_figures
from anon_batch.units import format_count

_MOST_GROUPS = 50  # of one dimension
_NEW_FACES = ("donors", "generator")  # models that find nothing
_BODY_MODELS = ("person_outline", "person_pose")  # that find nobody, and say how a person who was found stands
_OF_FINDERS = "Detectors do not find all groups of people equally well."
_OF_BODIES = "Outlines and keypoints are not equally good for all groups of people."


def describe_responsibly(finished: FinishedRelease, images: int) -> dict[str, Any]:
    """Return the properties of the RAI vocabulary, by their names in its specification.

    Args:
        finished: the release.
        images: that it publishes.
    """
    record, summary = finished.run, finished.stats.summary
    statement = dict(statement_of(finished).aspects)
    lost = ", ".join(f"{format_count(finished.stats.statuses.get(name, 0))} {name}" for name in ("withheld", "failed"))
    missing = f"{lost} of {format_count(finished.stats.rows)} rows have no image; the provenance says why."
    done = f"{format_count(int(summary['regions_anonymized']))} regions in {format_count(images)} images"
    said = record.compliance
    return {
        "rai:dataCollectionRawData": "The source is not named. Its images are not part of this release.",
        "rai:dataCollectionMissingData": missing,
        "rai:dataPreprocessingProtocol": [
            "Metadata is removed from every image; pixels outside the regions are not changed."
        ],
        "rai:dataManipulationProtocol": f"{done}. {statement['Treatment']}",
        "rai:machineAnnotationTools": list(record.models),
        "rai:dataLimitations": list(_limitations(finished)),
        "rai:dataBiases": list(_biases(finished)),
        "rai:personalSensitiveInformation": list(statement.values()),
        "rai:dataUseCases": [said.get("uses") or NOT_STATED],
        "rai:dataSocialImpact": said.get("social_impact") or NOT_STATED,
        "rai:dataReleaseMaintenancePlan": " Contact: ".join(
            filter(None, (said.get("maintenance") or NOT_STATED, said.get("contact")))
        ),
    }


def _limitations(finished: FinishedRelease) -> Iterator[str]:
    """Yield the limits as the card lists them, with what was measured about missed faces, and the owner's own limits."""
    summary = finished.stats.summary
    methods = {str(name): int(count) for name, count in summary["methods"].items()}
    missed, *_ = answer_all(measures_of(finished), judge_gates(finished.gates))
    yield from list_limits(
        finished.run,
        methods,
        int(summary["regions_kept"]),
        missed.sentences if missed.figures else (),
        summary["labels"],
        all_models(finished),
    )
    gates = "; ".join(f"{gate.name}: {gate.note}" for gate in finished.gates.results)
    yield f"Limits that the owner set, and what was measured: {gates or 'none'}."


def _biases(finished: FinishedRelease) -> Iterator[str]:
    """Yield what the models learnt from, and the labelled faces that were missed in each group of images."""
    for name, trained_on in models_of(finished.run):
        if name not in _NEW_FACES:
            yield f"{_OF_BODIES if name in _BODY_MODELS else _OF_FINDERS} {name} was trained on: {trained_on}."
    _, tables = missed_figures(finished.stats.summary)
    for name, table in tables.items():
        at = {column: index for index, column in enumerate(table.columns)}
        groups = [(str(row[0]), row[at["share"]]) for row in table.rows[:_MOST_GROUPS]]
        shown = "; ".join(
            f"{group} {_share(figure)}"
            for group, figure in groups
            if isinstance(figure, Figure) and figure.value is not None
        )
        if shown:
            what = "regions" if name == f"missed.{LABEL}" else "faces"
            yield f"Labelled {what} left uncovered, by {name.partition('.')[2].removeprefix('slice_')}: {shown}."


def _share(figure: Figure) -> str:
    interval = format_interval(figure, "share")
    of = f", n = {format_count(figure.n)}" if figure.n is not None else ""
    return f"{format_value(figure.value, 'share')} ({interval or 'no interval'}{of})"
