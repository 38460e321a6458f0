"""The evidence about a release that still holds: measures of another state of it are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.release import Release
from anon_batch.formats.stats_json import StatsJson
from anon_batch.formats.version_json import Version
from anon_batch.stats.figure import Figure

_COMMANDS = {layout.EVALUATION: "anon-batch evaluate OUTPUT", layout.REVIEW: "anon-batch review OUTPUT"}


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """What was measured about a release after its run.

    Args:
        files: `layout.EVALUATION`, `layout.REVIEW` -> measures that hold for this state of the release.
        refused: name of a file that does not count -> why.
    """

    files: Mapping[str, Evidence] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def figure(self, file: str, name: str) -> Figure:
        """Return a figure of a file; one without a value says why, and which command measures it."""
        measures, command = self.files.get(file), f"`{_COMMANDS[file]}` measures it"
        if measures is None:
            return Figure.missing(self.refused.get(file, command))
        figure = measures.figures.get(name)
        return Figure.missing(measures.skipped.get(name, command)) if figure is None else figure


def read_kept_evidence(release: Release, run_id: str, stats: StatsJson) -> KeptEvidence:
    """Read evaluation.json and review.json; refuse, and say why, what was measured on another state of the release.

    What was measured before rows were erased counts, and its figures say so.

    Args:
        release: holds the files.
        run_id: of its run.
        stats: its statistics now.
    """
    states = {stats.sha256: "", **_before_erasures(release.versions)}
    files: dict[str, Evidence] = {}
    refused: dict[str, str] = {}
    for key, command in _COMMANDS.items():
        try:
            evidence = release.read_evidence(key)
        except (ConfigError, IntegrityError) as exc:
            refused[key] = f"{key} cannot be read ({type(exc).__name__}); repeat `{command}`"
            continue
        if evidence is None:
            continue
        if evidence.run_id != run_id:
            refused[key] = f"{key} is of run {evidence.run_id}, not of this one; repeat `{command}`"
        elif (note := states.get(evidence.stats_sha256)) is None:
            refused[key] = f"{key} was measured on another state of this release; repeat `{command}`"
        else:
            files[key] = _with_note(evidence, note) if note else evidence
    return KeptEvidence(files, refused)


def _before_erasures(versions: Sequence[Version]) -> dict[str, str]:
    """Map digests of stats.json before the last versions, as long as these changed no pixel, to what a reader must know.

    Because an erasure changes no image that is left, what was measured before it is still true of more rows. Content
    Credentials stand beside the pixels.
    """
    states: dict[str, str] = {}
    erased = 0
    for version in reversed(versions):
        if version.kind not in ("erase", "c2pa"):
            break
        erased += len(version.tombstones)
        rows = "1 row was" if erased == 1 else f"{erased:,} rows were"
        note = f"measured on version {version.number - 1}, before {rows} erased" if erased else ""
        states[version.parent_stats_sha256] = note
    return states


def _with_note(evidence: Evidence, note: str) -> Evidence:
    def noted(own: Figure) -> Figure:
        if own.value is None:  # because nothing was measured
            return own
        return replace(own, note=f"{note}; {own.note}" if own.note else note)

    return replace(evidence, figures={name: noted(own) for name, own in evidence.figures.items()})
