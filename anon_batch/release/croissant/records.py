"""The files of a release and their records in Croissant: the provenance, the images, and the names of classes.

In the layout `webdataset` each tar is a file object with its digest, because loaders open archives that they know one by one. A
release of more than `MOST_ARCHIVES` tars describes them as one set, without records of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from anon_batch.formats import layout
from anon_batch.formats.features import CLASS_LABEL
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.shards import effective

MOST_ARCHIVES = 2_000
_PARQUET, _TAR = "application/x-parquet", "application/x-tar"
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "image/gif", "image/avif")
_SUFFIXES = tuple(form(suffix) for suffix in layout.IMAGE_SUFFIXES for form in (str.lower, str.upper))
# How a record of images finds its row of the provenance: the column that holds its path, by layout.
_PATHS = {"files": "output", "webdataset": "member"}


class Column(NamedTuple):
    """A column: its name, Croissant's types of its values, whether a value is a list, and the names of its classes."""

    name: str
    types: tuple[str, ...]
    is_list: bool = False
    classes: tuple[str, ...] = ()


class Archive(NamedTuple):
    """A tar with images: its key below OUTPUT and its digest."""

    key: str
    sha256: str


def read_archives(release: Release, record: RunJson) -> tuple[Archive, ...]:
    """Return the tars of a release; none in other layouts, or if there are more than `MOST_ARCHIVES`."""
    specs = effective(release.parts())
    if record.layout != "webdataset" or len(specs) > MOST_ARCHIVES:
        return ()
    return tuple(
        Archive(layout.shard_file(spec.name, meta.attempt, record.layout), meta.shard_sha256)
        for spec, meta in release.read_metas(specs)
        if meta.shard_sha256
    )


def read_columns(release: Release, record: RunJson) -> tuple[Column, ...]:
    """Return the published columns of the source whose type Croissant has, from the schema of the provenance."""
    specs, published = effective(release.parts()), record.columns.get("published", [])
    if not specs or not published:
        return ()
    schema = release.read_part(specs[0]).table.schema
    known = record.columns.get("features", {})
    found = (_column(schema.field(name), known.get(name)) for name in schema.names if name in published)
    return tuple(column for column in found if column is not None)


def describe_files(kind: str, archives: Sequence[Archive]) -> Iterator[dict[str, Any]]:
    """Yield the file objects and file sets of a layout."""
    yield _file_set("provenance-files", f"{layout.PROVENANCE}/*.parquet", _PARQUET)
    if kind == "parquet":
        yield _file_set("shard-files", f"{layout.SHARDS}/*.parquet", _PARQUET)
    elif kind == "files":
        # Not all of the folder, because metadata.parquet is no image.
        yield _file_set("image-files", _images_below(f"{layout.IMAGES}/"), list(_IMAGE_TYPES))
    elif not archives:
        yield _file_set("shard-files", f"{layout.SHARDS}/*.tar", _TAR)
    else:
        for key, sha256 in archives:
            names = {"@id": key, "name": key, "contentUrl": key}
            yield {"@type": "cr:FileObject", **names, "encodingFormat": _TAR, "sha256": sha256}
        files = _file_set("image-files", _images_below(""), list(_IMAGE_TYPES))
        yield {**files, "containedIn": [{"@id": own.key} for own in archives]}


def describe_records(kind: str, columns: Sequence[Column], archives: Sequence[Archive]) -> Iterator[dict[str, Any]]:
    """Yield the record sets: `provenance`, `images` where a loader can read them, and `NAME_classes` of each class label."""
    own = [column for column in map(_column, PROVENANCE_SCHEMA) if column is not None and not column.is_list]
    every = [*own, *columns]
    joined = kind == "files" or bool(archives)
    # Because loaders join two record sets, not three, the set that is joined with the provenance refers to the classes.
    rows = [one._replace(classes=()) for one in every] if joined else every
    fields = [_field("provenance", one, _column_of("provenance-files", one.name)) for one in rows]
    yield _record_set("provenance", fields)
    if kind == "parquet":
        image = _column_of("shard-files", "image") | {"transform": {"jsonPath": "bytes"}}
        shown = [Column("image_id", ("sc:Text",)), Column("synthetic", ("sc:Boolean",)), *columns]
        fields = [_field("images", one, _column_of("shard-files", one.name)) for one in shown]
        yield _record_set("images", [_field("images", Column("image", ("sc:ImageObject",)), image), *fields])
    elif joined:
        yield _record_set("images", list(_fields_of_files(_PATHS[kind], every)))
    yield from (_classes(column) for column in columns if column.classes)


def _fields_of_files(path: str, columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    """Yield the fields of images that are files of their own: path, content, and the columns of their row in the provenance."""
    files = {"fileSet": {"@id": "image-files"}}
    # The expression takes the whole path. Without one, loaders compare it as an object and find no row.
    source = {"extract": {"fileProperty": "fullpath"}, **files, "transform": {"regex": "^(.*)$"}}
    row = {"references": {"field": {"@id": f"provenance/{path}"}}}
    yield _field("images", Column("path", ("sc:Text",)), source) | row
    yield _field("images", Column("image", ("sc:ImageObject",)), {"extract": {"fileProperty": "content"}, **files})
    for column in columns:
        if column.name not in ("output", "member", "sha256", "run_id", "tool_version", "reason"):
            source = {"field": {"@id": f"provenance/{_id(column.name)}"}}
            yield _field("images", column, source)


def _column(field: pa.Field, feature: Any = None) -> Column | None:
    """Return a column with Croissant's types; None for structures and binary values, which have none."""
    is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
    kind = _data_type(field.type.value_type if is_list else field.type)
    if kind is None:
        return None
    if isinstance(feature, Mapping) and feature.get("_type") == CLASS_LABEL and not is_list:
        return Column(field.name, (kind, "cr:Label"), classes=tuple(map(str, feature.get("names", ()))))
    return Column(field.name, (kind,), is_list)


def _data_type(kind: pa.DataType) -> str | None:
    types = pa.types
    if types.is_dictionary(kind):
        return _data_type(kind.value_type)
    found = {
        "sc:Text": types.is_string(kind) or types.is_large_string(kind),
        "sc:Integer": types.is_integer(kind),
        "sc:Float": types.is_floating(kind),
        "sc:Boolean": types.is_boolean(kind),
        "sc:Date": types.is_date(kind) or types.is_timestamp(kind),
    }
    return next((name for name, holds in found.items() if holds), None)


def _field(record_set: str, column: Column, source: Mapping[str, Any]) -> dict[str, Any]:
    types = column.types[0] if len(column.types) == 1 else list(column.types)
    names = {"@id": f"{record_set}/{_id(column.name)}", "name": column.name}
    field: dict[str, Any] = {"@type": "cr:Field", **names, "dataType": types, "source": dict(source)}
    if column.is_list:
        field["repeated"] = True
    if column.classes:
        field["references"] = {"field": {"@id": f"{_id(column.name)}_classes/number"}}
    return field


def _classes(column: Column) -> dict[str, Any]:
    """Return the enumeration of the classes of a column: the number that the column holds, and its name."""
    own = f"{_id(column.name)}_classes"
    number, name = f"{own}/number", f"{own}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": own,
        "name": f"{column.name}_classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": number},
        "field": [
            {"@type": "cr:Field", "@id": number, "name": "number", "dataType": "sc:Integer"},
            {"@type": "cr:Field", "@id": name, "name": "name", "dataType": "sc:Text"},
        ],
        "data": [{number: at, name: text} for at, text in enumerate(column.classes)],
    }


def _record_set(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _file_set(name: str, includes: str | list[str], encoding: str | list[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "includes": includes, "encodingFormat": encoding}


def _images_below(folder: str) -> list[str]:
    return [f"{folder}{depth}*{suffix}" for suffix in _SUFFIXES for depth in ("", "**/")]


def _column_of(file_set: str, name: str) -> dict[str, Any]:
    return {"extract": {"column": name}, "fileSet": {"@id": file_set}}


def _id(name: str) -> str:
    """Return the name of a column as a part of an identifier, which holds neither spaces nor slashes."""
    return quote(name, safe="")
