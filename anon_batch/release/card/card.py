"""README.md: the dataset card, with the metadata that `load_dataset` of Hugging Face reads."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from anon_batch.formats import layout
from anon_batch.formats.gates_json import GateResult
from anon_batch.formats.run_json import RunJson
from anon_batch.records import STATUSES
from anon_batch.release.card.front_matter import describe_for_loaders
from anon_batch.release.card.generated import describe_generated
from anon_batch.release.card.history import list_versions
from anon_batch.release.card.shard_index import describe_shards
from anon_batch.release.card.split_images import count_split_images
from anon_batch.release.card.tar_features import TarMembers, read_tar_members
from anon_batch.release.licences import all_models, find_contradictions, list_licences
from anon_batch.release.markdown import plain, prose
from anon_batch.release.report.compute import measures_of
from anon_batch.release.report.document import Answer
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.questions import answer_all
from anon_batch.release.report.verdicts import judge_gates
from anon_batch.release.words.limits import list_limits
from anon_batch.release.words.owner import owner_words
from anon_batch.release.words.statement import statement_of
from anon_batch.shards import effective
from anon_batch.units import format_count, format_share

_TEMPLATE = "card.md.jinja"


def render_card(finished: FinishedRelease) -> str:
    """Return README.md of a finished release; the same release gives the same text.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: it cannot be read.
    """
    environment = Environment(  # noqa: S701  the text is Markdown, and `plain` escapes what would be more
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(count=format_count, percent=format_share, plain=plain, prose=prose)
    record, summary = finished.run, finished.stats.summary
    tars = read_tar_members(finished.release) if record.layout == "webdataset" else TarMembers()
    in_splits = count_split_images(finished.release, record.splits)
    front_matter = describe_for_loaders(record, in_splits, tars)
    methods = {str(name): int(count) for name, count in summary["methods"].items()}
    answers = answer_all(measures_of(finished), judge_gates(finished.gates))
    statement = statement_of(finished)
    statuses = {status: int(summary["statuses"].get(status, 0)) for status in STATUSES}
    return environment.from_string(_read_template()).render(
        front_matter=yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True).rstrip(),
        name=record.name,
        layout=record.layout,
        record=record,
        shards=describe_shards(record, len(effective(finished.release.parts()))),
        rows=int(summary["rows"]),
        statuses=statuses,
        images=statuses["anonymized"] + statuses["clean"],
        lost=list(_lost(summary["reasons"])),
        splits=[(own.name, own.stop - own.start, in_splits.counts[own.name]) for own in record.splits],
        folders=[posixpath.dirname(key) for key in record.metadata_keys],
        methods=methods,
        headline=statement.headline,
        statement=statement.aspects,
        answers=[(answer.question, _measured(answer)) for answer in answers],
        limits=list_limits(
            record,
            methods,
            int(summary["regions_kept"]),
            _measured(answers[0]),
            summary["labels"],
            all_models(finished),
        ),
        owner=owner_words(record),
        generated=describe_generated(finished.release, marked=record.mark_generated),
        gates=[
            (gate.name, _limit(gate), gate.note, "passed" if gate.passed else "exceeded")
            for gate in finished.gates.results
        ],
        versions=list_versions(finished),
        licences=list_licences(finished),
        contradictions=find_contradictions(finished),
        published=[str(name) for name in record.columns.get("published", [])],
        withheld={str(name): str(why) for name, why in record.columns.get("withheld", {}).items()},
        blanked=list(_blanked(record)),
    )


def write_card(finished: FinishedRelease) -> None:
    """Write README.md.

    Raises:
        StorageError: it cannot be written.
    """
    finished.release.put(layout.CARD, render_card(finished).encode("utf-8", errors="backslashreplace"))


def _read_template() -> str:
    return resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")


def _lost(reasons: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for status, inner in reasons.items():
        if isinstance(inner, Mapping):
            yield from ((f"{status}: {reason}", int(count)) for reason, count in inner.items())
        else:
            yield status, int(inner)


def _measured(answer: Answer) -> tuple[str, ...]:
    """Return the sentences of an answer that something was measured for; none if nothing was."""
    return answer.sentences if answer.figures else ()


def _blanked(record: RunJson) -> Iterator[tuple[str, str, int]]:
    for name, own in record.columns.get("blanked", {}).items():
        yield from ((str(name), str(why), int(count)) for why, count in own.items())


def _limit(gate: GateResult) -> str:
    return f"{'at most' if gate.kind == 'at_most' else 'at least'} {format_share(gate.limit)}"
