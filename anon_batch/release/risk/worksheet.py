"""The worksheet: an answer to each of the three risks in each clause."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anon_batch.formats import layout
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.risk import counted
from anon_batch.release.risk.entries import Entry, not_measured, said
from anon_batch.release.risk.framework import CLAUSES, CRITERIA, PROCESSING, SOURCES
from anon_batch.release.risk.measured import TRAITS, Figures

RISK_VERSION = 1
_ALL = tuple(criterion.name for criterion in CRITERIA)
_S, _L, _I = _ALL
_CONTENT = "what else the images show: bodies, clothes, places, text"
Entries = tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known about one or several risks in a clause; at least one entry.

    Args:
        clause: number of the clause.
        criteria: names of the risks that it speaks of.
        entries: the answers.
    """

    clause: str
    criteria: tuple[str, ...]
    entries: Entries


@dataclass(frozen=True, slots=True)
class Worksheet:
    """The risk worksheet of one version of a release.

    Args:
        name, run_id, release_version, tool_version: of the release.
        cells: in the order of the clauses; together they cover every risk in every clause once.
        processing: what the owner says about the processing, by key of `compliance`.
    """

    name: str
    run_id: str
    release_version: int
    tool_version: str
    cells: tuple[Cell, ...]
    processing: Mapping[str, Entry]

    @property
    def states(self) -> Mapping[str, int]:
        """State -> entries of that state, in all cells."""
        return Counter(entry.state for cell in self.cells for entry in cell.entries)

    def to_json(self) -> bytes:
        """Return the content of risk.json; the same worksheet gives the same bytes."""
        content = {
            "version": RISK_VERSION,
            "name": self.name,
            "run_id": self.run_id,
            "release_version": self.release_version,
            "tool_version": self.tool_version,
            "sources": list(SOURCES),
            "criteria": [criterion._asdict() for criterion in CRITERIA],
            "clauses": [clause._asdict() for clause in CLAUSES],
            "cells": [
                {
                    "clause": own.clause,
                    "criteria": list(own.criteria),
                    "entries": [entry.to_json() for entry in own.entries],
                }
                for own in self.cells
            ],
            "processing": {key: entry.to_json() for key, entry in self.processing.items()},
            "states": dict(sorted(self.states.items())),
        }
        return json.dumps(content, indent=1, allow_nan=False).encode()


def fill_worksheet(finished: FinishedRelease) -> Worksheet:
    """Return the worksheet of a finished release, from its public files alone.

    Raises:
        KeyError, TypeError, ValueError: stats.json is not of this version.
    """
    record, figures = finished.run, Figures(finished)
    rows = {
        **_context(finished),
        **_data(finished, figures),
        **_identifiability(finished, figures),
        **_governance(finished),
    }
    cells = [
        Cell(clause.number, criteria, entries)
        for clause in CLAUSES
        for criteria, entries in rows[clause.number].items()
    ]
    processing = {key: said(record.compliance, key, what) for key, what in PROCESSING.items()}
    return Worksheet(
        record.name, record.run_id, finished.release.version, record.tool_version, tuple(cells), processing
    )


Row = Mapping[tuple[str, ...], Entries]


def _context(finished: FinishedRelease) -> Mapping[str, Row]:
    stated = _stated(finished)
    return {
        "6.2.2": {
            _ALL: (
                stated("retention", "how the ledger is kept, and until when"),
                counted.destroyed(finished),
                *counted.services(finished),
            )
        },
        "6.2.3": {
            _ALL: (
                stated("uses", "what the release is meant for, and what not"),
                not_measured(
                    "who may want to find a person in it, and with what", "a judgement of those who get the release"
                ),
            )
        },
        "6.3.2": {
            _ALL: (
                stated("purpose", "purpose of the processing"),
                stated("contact", "where persons concerned can write to"),
            )
        },
        "6.3.3": {
            _ALL: (
                stated("social_impact", "effects on people and groups"),
                stated("dpia_reference", "data protection impact assessment"),
            )
        },
    }


def _data(finished: FinishedRelease, figures: Figures) -> Mapping[str, Row]:
    twice = "how many images show the same person"
    groups = tuple(figures.groups_of_persons()) or (
        not_measured(
            "how many are missed in each group of persons",
            "private columns `slice_*` of the manifest",
        ),
    )
    return {
        "7.2.2": {
            (_S,): (counted.persons_found(finished),),
            (_L,): counted.persons_twice(finished, twice),
            (_I,): groups,
        },
        "7.2.3": {
            (_S,): (
                counted.status(finished, "clean", "rows published without a region, as nothing was found in them"),
            ),
            (_L,): (
                counted.status(finished, "anonymized", "rows published with regions; all else is as in the source"),
            ),
            (_I,): (not_measured(_CONTENT, "people who look at a sample with that question"),),
        },
        "7.2.4": {
            (_S,): (counted.published_columns(finished),),
            (_L,): (counted.withheld_columns(finished),),
            (_I,): _shown_by_columns(finished),
        },
        "7.2.5": {
            (_S,): (
                counted.status(finished, "withheld", "rows withheld"),
                counted.status(finished, "failed", "rows failed"),
            ),
            (_L,): (not_measured("near-duplicates and bursts", "a search for near-duplicates in the source"),),
            (_I,): (counted.with_regions(finished),),
        },
        "7.3.2": {
            (_S,): (
                figures.entry("missed.from_16_px", "labelled faces from 16 px left uncovered, all groups"),
                figures.worst_group(),
                *figures.other_labels(),
            ),
            (_L,): (figures.tried(),),
            (_I,): (TRAITS,),
        },
        "7.3.3": {
            (_S,): (figures.sample(layout.REVIEW),),
            (_L,): (figures.sample(layout.EVALUATION),),
            (_I,): (TRAITS,),
        },
        "7.3.4": {
            _ALL: (
                not_measured(
                    "a formal model, such as differential privacy",
                    "one for images: none is applied here; 8.2.2 and 8.2.3 measure instead",
                ),
            )
        },
    }


def _shown_by_columns(finished: FinishedRelease) -> Entries:
    published = counted.published_columns(finished)
    if not published.value:
        return (published,)
    return (published, not_measured("what they say about a person", "a judgement of their content"))


def _identifiability(finished: FinishedRelease, figures: Figures) -> Mapping[str, Row]:
    stated, entry = _stated(finished), figures.entry
    missed = ("missed.from_16_px", "missed.all", "review.missed", "residual.share", "residual.after", "missed.at_least")
    pairs = ("reidentification.fnmr_at_fmr_0.01", "reidentification.fnir_at_fpir_0.1")
    views = ("reidentification.rank_1", "reidentification.whole_image.rank_1", "reidentification.surroundings.rank_1")
    linked = "persons recognised by an attacker who knows others of the release, faces alone"
    return {
        "8.2.2": {
            (_S,): (*map(entry, missed), *figures.other_labels()),
            (_L,): tuple(map(entry, pairs)),
            (_I,): (TRAITS,),
        },
        "8.2.3": {
            (_S,): tuple(map(entry, views)),
            (_L,): (figures.attack("linked", linked), figures.tried(), *counted.false_links(finished)),
            (_I,): (TRAITS,),
        },
        "8.3.2": {
            _ALL: (
                stated("licence", "terms under which others get the release"),
                stated("retention", "how the ledger is kept, and until when"),
                counted.destroyed(finished),
            )
        },
        "8.3.3": {
            (_S,): counted.methods_used(finished),
            (_L,): (counted.withheld_columns(finished),),
            (_I,): (counted.new_faces(finished),),
        },
        "8.3.4": {
            (_S,): (counted.limits_kept(finished, ("missed", "recall", "residual")), counted.later_versions(finished)),
            (_L,): (counted.limits_kept(finished, ("reidentification",)),),
            (_I,): (TRAITS,),
        },
    }


def _governance(finished: FinishedRelease) -> Mapping[str, Row]:
    stated = _stated(finished)
    contact = stated("contact", "where to report a face, or an incident")
    return {
        "9.2.2": {_ALL: (stated("controller", "who decides about the processing"), contact)},
        "9.2.3": {
            _ALL: (
                stated("legal_basis", "legal basis of the processing, anonymizing included"),
                stated("dpia_reference", "data protection impact assessment"),
            )
        },
        "9.2.4": {
            _ALL: (
                stated("uses", "what the release is meant for, and what not"),
                stated("licence", "licence of the release"),
            )
        },
        "9.2.5": {_ALL: (contact,)},
        "9.3.2": {_ALL: (stated("maintenance", "who watches over the release after it is published"),)},
        "9.4": {_ALL: (contact, counted.later_versions(finished))},
    }


def _stated(finished: FinishedRelease) -> Callable[[str, str], Entry]:
    return lambda key, what: said(finished.run.compliance, key, what)
