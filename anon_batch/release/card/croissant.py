"""croissant.json: what is in a release, for programs, in MLCommons' Croissant 1.1 with its RAI 1.0 properties.

Numbers come from stats.json and the evidence, so that they equal those of the report. Sources are not named.

Source: Croissant Format Specification 1.1, Croissant RAI Specification 1.0 (MLCommons).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.formats import layout
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.run_json import RunJson
from anon_batch.models.registry import MODELS
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.words.owner import NOT_STATED
from anon_batch.release.words.statement import statement_of
from anon_batch.units import format_count

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
_PARQUET, _TAR = "application/x-parquet", "application/x-tar"
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "image/gif", "image/avif")
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


def write_croissant(finished: FinishedRelease) -> None:
    """Write croissant.json.

    Raises:
        StorageError: it cannot be written.
    """
    finished.release.put(layout.CROISSANT, json.dumps(describe(finished), indent=1).encode())


def describe(finished: FinishedRelease) -> dict[str, Any]:
    """Return the content of croissant.json; the same release gives the same."""
    record, summary = finished.run, finished.stats.summary
    statuses = summary["statuses"]
    images = int(statuses.get("anonymized", 0)) + int(statuses.get("clean", 0))
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": record.name,
        "description": f"{format_count(images)} images, anonymized with anon-batch {record.tool_version}.",
        "version": "1.0.0",
        "dateModified": record.finished_at,
        "keywords": ["anonymized", "anon-batch"],
        **_stated(record),
        "distribution": list(_distribution(record.layout)),
        "recordSet": list(_record_sets(record.layout)),
        "prov:wasDerivedFrom": {"@type": "prov:Entity", "sc:name": f"source of {record.name}"},
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "sc:name": f"anon-batch run {record.run_id}",
            "prov:wasAssociatedWith": {
                "@type": "prov:SoftwareAgent",
                "sc:name": "anon-batch",
                "sc:softwareVersion": record.tool_version,
            },
        },
        **_responsible_ai(finished, images),
    }


def _distribution(kind: str) -> Iterator[dict[str, Any]]:
    yield _file_set("provenance-files", f"{layout.PROVENANCE}/*.parquet", _PARQUET)
    if kind == "parquet":
        yield _file_set("shard-files", f"{layout.SHARDS}/*.parquet", _PARQUET)
    elif kind == "webdataset":
        yield _file_set("shard-files", f"{layout.SHARDS}/*.tar", _TAR)
    else:
        suffixes = [form(suffix) for suffix in layout.IMAGE_SUFFIXES for form in (str.lower, str.upper)]
        # Not all of the folder, because metadata.parquet is no image.
        patterns = [f"{layout.IMAGES}/{depth}*{suffix}" for suffix in suffixes for depth in ("", "**/")]
        yield _file_set("image-files", patterns, list(_IMAGE_TYPES))


def _file_set(name: str, includes: str | list[str], encoding: str | list[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": encoding}


def _record_sets(kind: str) -> Iterator[dict[str, Any]]:
    texts = [field for field in PROVENANCE_SCHEMA if str(field.type) in ("string", "int32", "int64")]
    fields = [_field("provenance", own.name, _data_type(str(own.type)), {"column": own.name}) for own in texts]
    yield {
        "@type": "cr:RecordSet",
        "@id": "provenance",
        "name": "provenance",
        "field": _from("provenance-files", fields),
    }
    if kind == "parquet":
        image = _field("images", "image", "sc:ImageObject", {"column": "image"})
        image["source"]["transform"] = {"jsonPath": "bytes"}
        fields = [_field("images", "image_id", "sc:Text", {"column": "image_id"}), image]
        yield {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": _from("shard-files", fields)}
    elif kind == "files":
        content = _field("images", "image", "sc:ImageObject", {"fileProperty": "content"})
        name = _field("images", "path", "sc:Text", {"fileProperty": "fullpath"})
        yield {
            "@type": "cr:RecordSet",
            "@id": "images",
            "name": "images",
            "field": _from("image-files", [name, content]),
        }


def _field(record_set: str, name: str, data_type: str, extract: Mapping[str, str]) -> dict[str, Any]:
    path = f"{record_set}/{name}"
    return {"@type": "cr:Field", "@id": path, "name": name, "dataType": data_type, "source": {"extract": dict(extract)}}


def _from(file_set: str, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for field in fields:
        field["source"]["fileSet"] = {"@id": file_set}
    return fields


def _data_type(arrow: str) -> str:
    return "sc:Text" if arrow == "string" else "sc:Integer"


def _responsible_ai(finished: FinishedRelease, images: int) -> dict[str, Any]:
    record, summary = finished.run, finished.stats.summary
    regions, rows = int(summary["regions_anonymized"]), int(summary["rows"])
    statement = dict(statement_of(finished).aspects)
    lost = ", ".join(f"{format_count(int(summary['statuses'].get(name, 0)))} {name}" for name in ("withheld", "failed"))
    done = f"{format_count(regions)} regions in {format_count(images)} images"
    gates = [f"{gate.name}: {gate.note}" for gate in finished.gates.results]
    return {
        "rai:dataCollectionRawData": "The source is not named. Its images are not part of this release.",
        "rai:dataCollectionMissingData": f"{lost} of {format_count(rows)} rows have no image; the provenance says why.",
        "rai:dataPreprocessingProtocol": [
            "Metadata is removed from every image; pixels outside the regions are not changed."
        ],
        "rai:dataManipulationProtocol": f"{done}. {statement['Treatment']}",
        "rai:machineAnnotationTools": list(record.models),
        "rai:dataLimitations": [
            "Faces that no detector found are published as they are.",
            f"Limits that the owner set, and what was measured: {'; '.join(gates) or 'none'}.",
            "People can be recognised by more than a face: body, clothes, place, text, other images of the same scene.",
        ],
        "rai:dataBiases": [
            f"Detectors do not find all groups of people equally well. {name} was trained on: {MODELS[name].trained_on}."
            for name in dict.fromkeys(model.partition("@")[0] for model in record.models)
            if name in MODELS
        ],
        "rai:personalSensitiveInformation": list(statement.values()),
        "rai:dataUseCases": [record.compliance.get("uses") or NOT_STATED],
        "rai:dataSocialImpact": record.compliance.get("social_impact") or NOT_STATED,
        "rai:dataReleaseMaintenancePlan": record.compliance.get("maintenance") or NOT_STATED,
    }


def _stated(record: RunJson) -> dict[str, str]:
    """Return the owner's words that Croissant has a key for; none for what is not stated."""
    keys = {"license": "licence", "citeAs": "citation"}
    return {key: text for key, name in keys.items() if (text := record.compliance.get(name))}
