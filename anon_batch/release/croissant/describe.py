"""Describe a release in Croissant: who made it of what, under which terms, and where its files and records are.

Numbers come from stats.json and the evidence, so that they equal those of the report. Sources are not named.

Source: Croissant Format Specification 1.1, Croissant RAI Specification 1.0 (MLCommons).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.formats import layout
from anon_batch.formats.run_json import RunJson
from anon_batch.release.card.history import list_versions
from anon_batch.release.creative_commons import elements_of
from anon_batch.release.croissant.records import describe_files, describe_records, read_archives, read_columns
from anon_batch.release.croissant.responsible import describe_responsibly
from anon_batch.release.licence_address import address_of
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.units import format_count

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_NON_COMMERCIAL = {
    "@type": "sc:DefinedTerm",
    "sc:name": "non-commercial use only",
    "sc:termCode": "DUO_0000046",
    "sc:url": "http://purl.obolibrary.org/obo/DUO_0000046",
}


def write_croissant(finished: FinishedRelease) -> None:
    """Write croissant.json.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: it cannot be read, or croissant.json not written.
    """
    finished.release.put(layout.CROISSANT, json.dumps(describe(finished), indent=1).encode())


def describe(finished: FinishedRelease) -> dict[str, Any]:
    """Return the content of croissant.json; the same release gives the same.

    Raises:
        IntegrityError: a part of the provenance is damaged.
        StorageError: it cannot be read.
    """
    record = finished.run
    images = sum(finished.stats.statuses.get(status, 0) for status in ("anonymized", "clean"))
    archives, columns = read_archives(finished.release, record), read_columns(finished.release, record)
    newest, *_ = versions = list_versions(finished)
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": record.name,
        "description": f"{format_count(images)} images, anonymized with anon-batch {record.tool_version}.",
        "version": f"{newest.number}.0.0",
        "dateCreated": versions[-1].made_at,
        "dateModified": newest.made_at,
        "keywords": ["anonymized", "anon-batch"],
        **dict(_stated(record)),
        "distribution": list(describe_files(record.layout, archives)),
        "recordSet": list(describe_records(record.layout, columns, archives)),
        "prov:wasDerivedFrom": {"@type": "prov:Entity", "sc:name": f"source of {record.name}"},
        "prov:wasGeneratedBy": [
            {
                "@type": "prov:Activity",
                "sc:name": f"anon-batch {own.made_by}: version {own.number} of run {record.run_id}",
                "prov:endedAtTime": own.made_at,
                "prov:wasAssociatedWith": {
                    "@type": "prov:SoftwareAgent",
                    "sc:name": "anon-batch",
                    "sc:softwareVersion": own.tool_version,
                },
            }
            for own in reversed(versions)
        ],
        **describe_responsibly(finished, images),
    }


def _stated(record: RunJson) -> Iterator[tuple[str, Any]]:
    """Yield the owner's words that Croissant has a key for; none for what is not stated."""
    if licence := record.compliance.get("licence"):
        yield "license", address_of(licence) or licence
        if "nc" in (elements_of(licence) or ()):
            yield "usageInfo", [dict(_NON_COMMERCIAL)]
    if citation := record.compliance.get("citation"):
        yield "citeAs", citation
    if controller := record.compliance.get("controller"):
        yield "prov:wasAttributedTo", {"@type": "prov:Agent", "prov:label": controller}
