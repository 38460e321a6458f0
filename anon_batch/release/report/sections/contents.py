"""What is in the release and what made it: models, columns, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anon_batch.formats.part import description
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.run_json import PUBLIC_SECTIONS, RunJson
from anon_batch.formats.services import read_service
from anon_batch.models.registry import MODELS
from anon_batch.release.licences import declared_models
from anon_batch.release.report.document import Block, Section, Text, table
from anon_batch.release.words.owner import owner_words

_UNKNOWN = "not known to this version: ask who ran the job"


def models_section(record: RunJson, measured_with: Iterable[str]) -> Section:
    """Return the networks with their licences and what they were trained on.

    Args:
        record: of the run, with what the job says of files of its own.
        measured_with: `name@sha256`.
    """
    declared = declared_models(record)
    blocks: list[Block] = [*_models("models", "Networks that made the release", record.models, declared)]
    if not blocks:
        blocks = [Text("The job used no network.")]
    blocks += _models("models-measured", "Networks that measured it", measured_with, {})
    return Section("models", "Models", tuple(blocks))


def _models(name: str, title: str, models: Iterable[str], declared: Mapping[str, tuple[str, str]]) -> Iterator[Block]:
    rows = []
    for model in models:
        own, _, digest = model.partition("@")
        entry = next((known for known in MODELS.values() if known.sha256 == digest), None)
        if (service := read_service(model)) is not None:
            rows.append((service.said, "terms of the service", "not known", "originals were sent to it"))
            continue
        said = declared.get(own, (_UNKNOWN, _UNKNOWN))
        licence, trained = said if entry is None else (entry.licence, entry.trained_on)
        rows.append((own, licence, trained, digest))
    columns = {"model": "text", "licence": "text", "trained on": "text", "sha256": "code"}
    yield from table(name, title, columns, rows, "A digest says exactly which weights were used." if rows else "")


def published_section(columns: Mapping[str, Any]) -> Section:
    """Return what a recipient gets for each row, and what of the manifest was kept back."""
    published = [str(name) for name in columns.get("published", [])]
    withheld = [(str(name), str(why)) for name, why in columns.get("withheld", {}).items()]
    blanked = [
        (str(name), str(why), int(n)) for name, own in columns.get("blanked", {}).items() for why, n in own.items()
    ]
    listed = ", ".join(f"`{name.replace('`', chr(39))}`" for name in published)
    blocks: list[Block] = [
        Text("Of each row the release publishes its image, unless it was withheld or failed, and these fields:"),
        *table(
            "fields",
            "Fields of a row",
            {"field": "code", "meaning": "text"},
            [(field.name, description(field).replace("`", "")) for field in PROVENANCE_SCHEMA],
        ),
        Text(
            f"Columns of the manifest that are published too: {listed}."
            if published
            else "No further column of the manifest is published."
        ),
        *table(
            "withheld",
            "Columns and keys that are not published",
            {"column or key": "code", "looks like": "text"},
            withheld,
        ),
        *table(
            "blanked",
            "Single values left out of published columns",
            {"column or key": "code", "looks like": "text", "values": "count"},
            blanked,
        ),
    ]
    return Section("published", "What is published", tuple(blocks))


def owner_section(record: RunJson) -> Section:
    """Return what the owner says about the release; nobody has checked it."""
    note = "From the section `compliance` of the job. These are the owner's words: anon-batch did not check them."
    blocks = table("owner", "What the owner says", {"about": "text", "words": "text"}, owner_words(record), note)
    return Section("owner", "From the owner", tuple(blocks))


def settings_section(record: RunJson) -> Section:
    """Return the public settings of the job."""
    sections = [name for name in PUBLIC_SECTIONS if name in record.config and name != "compliance"]
    rows = [row for name in sections for row in _walk(name, record.config[name])]
    blocks = table("settings", "Settings of the job that its outputs depend on", {"key": "code", "value": "code"}, rows)
    return Section("settings", "Settings", tuple(blocks) or (Text("The run recorded no settings."),))


def _walk(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(f"{prefix}.{key}", inner)
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)
