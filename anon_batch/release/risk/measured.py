"""The entries that rest on figures: which figure answers which question, and which command takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Table
from anon_batch.pipeline.kept_evidence import KeptEvidence
from anon_batch.records import DEFAULT_LABEL
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.vocabulary import BY_LABEL, label_of
from anon_batch.release.risk.entries import RUN, Entry, count, from_figure, not_measured, share
from anon_batch.stats.figure import Figure
from anon_batch.stats.missed import FEW_FACES
from anon_batch.stats.missed_figures import missed_figures
from anon_batch.stats.residual import residual_figures

_REVIEW, _EVALUATE = "anon-batch review OUTPUT", "anon-batch evaluate OUTPUT"
_ATTACK = f"{_EVALUATE} --pairs FILE --embedder FILE"
_LABELS = "labelled faces: the manifest's column `regions`, on a sample of the rows at least"
_PERSONS = "two images of each of some persons, and a face recogniser"
_ATTACKERS, _FACE_ALONE = "reidentification.attackers", "the anonymized face alone"


class _Question(NamedTuple):
    """Where a figure is, which command takes it, and what that needs."""

    file: str
    command: str
    needs: str


_QUESTIONS: Mapping[str, _Question] = {
    "missed.at_least": _Question(layout.STATS, RUN, "a second detector in `detect.detectors`"),
    "missed": _Question(layout.STATS, RUN, _LABELS),
    "residual.share": _Question(layout.STATS, RUN, "the check `residual` in the job, with planted faces"),
    "residual.after": _Question(layout.EVALUATION, _EVALUATE, "a second detector (`--scorer`)"),
    "review": _Question(layout.REVIEW, _REVIEW, "people who look at a sample"),
    "reidentification": _Question(layout.EVALUATION, _ATTACK, _PERSONS),
}
TRAITS = not_measured(
    "how well a trait of a person, such as age, sex or skin tone, can be seen in the published image",
    "images whose persons have stated their traits, and a classifier for them. anon-batch brings none, because guessing traits "
    "of people makes new data about them",
)


class Figures:
    """All figures of a finished release, by dotted name."""

    def __init__(self, finished: FinishedRelease) -> None:
        summary = finished.stats.summary
        missed, _ = missed_figures(summary)
        self._of_run: Mapping[str, Figure] = {**missed, **residual_figures(summary)}
        self._evidence: KeptEvidence = finished.evidence

    def entry(self, name: str, what: str = "") -> Entry:
        """Return the entry of a figure, measured or not."""
        question = next(own for prefix, own in _QUESTIONS.items() if name == prefix or name.startswith(f"{prefix}."))
        if question.file == layout.STATS:
            figure = self._of_run.get(name, Figure.missing("this release has no such figure"))
        else:
            figure = self._evidence.figure(question.file, name)
        source = f"{question.file}: {name}"
        entry = from_figure(figure, what or label_of(name), source, question.command, question.needs)
        return _on_pairs(entry) if question.command == _ATTACK else entry

    def worst_group(self) -> Entry:
        """Return the group of labelled faces with the highest share left uncovered, among groups of enough faces."""
        groups = {
            name: own
            for name, own in self._of_run.items()
            if name.count(".") > 1
            and name.startswith("missed.")
            and not name.startswith(BY_LABEL)
            and own.value is not None
            and (own.n or 0) >= FEW_FACES
        }
        if not groups:
            what = "labelled faces left uncovered in the worst group, by size, brightness, pose and so on"
            return not_measured(what, f"{_LABELS}; {FEW_FACES} faces in a group")
        name = max(groups, key=lambda own: (groups[own].value, own))
        _, dimension, group = name.split(".", 2)
        what = (
            f"labelled faces left uncovered in the worst of {len(groups)} groups: {dimension} {group.replace('_', ' ')}"
        )
        return from_figure(groups[name], what, f"{layout.STATS}: {name}", RUN, _LABELS)

    def other_labels(self) -> Iterator[Entry]:
        """Yield the figures of labelled regions that are no faces, such as number plates."""
        for name in sorted(self._of_run):
            if name.startswith(BY_LABEL) and name != f"{BY_LABEL}{DEFAULT_LABEL}":
                yield self.entry(name)

    def groups_of_persons(self) -> Iterator[Entry]:
        """Yield the figures by the owner's own groups, the manifest's columns `slice_*`."""
        for name in sorted(self._of_run):
            if name.startswith("missed.slice_"):
                _, dimension, group = name.split(".", 2)
                yield self.entry(name, f"labelled faces left uncovered, {dimension.removeprefix('slice_')} {group}")

    def attack(self, attack: str, what: str) -> Entry:
        """Return the best of the recognisers in one attack on faces alone."""
        source = f"{layout.EVALUATION}: table {_ATTACKERS}, {attack}"
        found = [row for row in self._attackers() if row.get("attack") == attack and row.get("seen") == _FACE_ALONE]
        ranks = [rank for row in found if isinstance(rank := row.get("rank 1"), Figure) and rank.value is not None]
        if not ranks:
            needs = f"{_PERSONS}, and the attack `{attack}`"
            return Entry("not_measured", what, source=source, command=_ATTACK, needs=needs)
        best = max(ranks, key=lambda own: own.value or 0.0)
        return _on_pairs(from_figure(best, what, source, _ATTACK, _PERSONS))

    def tried(self) -> Entry:
        """Return how many attackers tried."""
        rows, what = self._attackers(), "attacks, each with each recogniser and in each view, whose strongest counts"
        if not rows:
            return Entry("not_measured", what, command=_ATTACK, needs=_PERSONS)
        return count(
            what, len(rows), len(rows), "attackers", f"{layout.EVALUATION}: table {_ATTACKERS}", command=_ATTACK
        )

    def sample(self, file: str) -> Entry:
        """Return how many rows were measured of all, by `layout.REVIEW` or `layout.EVALUATION`."""
        is_review = file == layout.REVIEW
        seen, needs = ("that people looked at", "people") if is_review else ("measured again", "a sample")
        unit = "published images" if is_review else "rows"
        what = f"share of the {unit} {seen}"
        command, evidence = _REVIEW if is_review else _EVALUATE, self._evidence.files.get(file)
        if evidence is None or not evidence.sample.of:
            why = self._evidence.refused.get(file, "")
            return Entry("not_measured", what, source=file, command=command, needs=needs, note=why)
        drawn = evidence.sample
        return share(what, drawn.rows, drawn.of, unit, f"{file}: sample", f"drawn with seed {drawn.seed}", command)

    def _attackers(self) -> list[dict[str, object]]:
        evidence = self._evidence.files.get(layout.EVALUATION)
        table: Table | None = None if evidence is None else evidence.tables.get(_ATTACKERS)
        if table is None:
            return []
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _on_pairs(entry: Entry) -> Entry:
    """Say which images the attackers saw, because these are not the release's."""
    if not entry.is_answered:
        return entry
    seen = "on the images of the pairs, anonymized as the job says, not on those of the release"
    return replace(entry, note=f"{seen}; {entry.note}" if entry.note else seen)
