"""The columns of a manifest: their names and types, what a file may hold for them, and the one form that the package uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.formats.provenance import RESERVED_COLUMNS
from anon_batch.manifest.regions_column import REGIONS_TYPE, is_regions, is_text, normalise_regions, plain_type

MANIFEST_VERSION = "1"
VERSION_KEY = b"anon_batch.manifest_version"
BASE_KEY = b"base_uri"
COMPARED_KEY = b"anon_batch.columns_compared"
OTHER_MEANING = (
    "if the column describes something else: `manifest --ignore {0}`, or `sources.columns.{0}: null` in the job"
)
IMAGE_COLUMN = "image"

REGIONS_COLUMN = "regions"
REGIONS_SIZE = ("regions_width", "regions_height")  # of the image that the regions are for, px
OLD_REGIONS_COLUMN = "faces"  # read as `regions` with the label `face`
FIXED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        (REGIONS_COLUMN, REGIONS_TYPE),
        *((name, pa.int64()) for name in REGIONS_SIZE),
    ]
)
FIXED_COLUMNS = tuple(FIXED_SCHEMA.names)
OPTIONAL_NUMBERS = ("offset", "length", "size_bytes")
RESERVED_EXTRA_COLUMNS = RESERVED_COLUMNS - set(FIXED_COLUMNS)
MAX_COLUMNS = 1000
MAX_DEPTH = 32  # of lists and structs; Arrow writes no more than 64 to a file
_OWN_COLUMNS = (*FIXED_COLUMNS, OLD_REGIONS_COLUMN, IMAGE_COLUMN)


def normalised_schema(file_schema: pa.Schema, where: str) -> pa.Schema:
    """Return the schema of the tables that a manifest is read as: the fixed columns, then the pass-through ones.

    Args:
        file_schema: of the Parquet file.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: a column is missing, has a type that cannot be used or a name that the release needs. The message
            names all such columns.
    """
    check_columns(file_schema.names, f"manifest {where}")
    problems = list(_problems(file_schema))
    if problems:
        raise ManifestError(f"manifest {where}: " + "; ".join(problems))
    extra = [f for f in file_schema if f.name not in _OWN_COLUMNS]
    return pa.schema([*FIXED_SCHEMA, *(pa.field(f.name, plain_type(f.type)) for f in extra)])


def _problems(schema: pa.Schema) -> Iterable[str]:
    names = schema.names
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        yield f"{_listed(twice)} more than once"
        return
    if "image_id" not in names:
        yield "no column `image_id` (string, unique, a relative path such as `train/0001.jpg`)"
    if "uri" not in names and IMAGE_COLUMN not in names:
        yield "neither a column `uri` (string) nor `image` (struct<bytes, path>)"
    if REGIONS_COLUMN in names and OLD_REGIONS_COLUMN in names:
        yield f"both `{REGIONS_COLUMN}` and `{OLD_REGIONS_COLUMN}`, its old name: drop one"
    for name in names:
        column_type = schema.field(name).type
        if name == IMAGE_COLUMN:
            if not is_image_struct(column_type):
                yield f"`image` is {column_type}, expected struct<bytes: binary, path: string>"
        elif name in _OWN_COLUMNS and not accepts(name, column_type):
            meaning = f"; {OTHER_MEANING.format(name)}" if name in OPTIONAL_NUMBERS or name == "sha256" else ""
            yield f"`{name}` is {column_type}, expected {FIXED_SCHEMA.field(fixed_name(name)).type}{meaning}"
    reserved = sorted(RESERVED_EXTRA_COLUMNS & set(names))
    if reserved:
        example = f"source_{reserved[0]}"
        yield f"{_listed(reserved)}: the release writes columns of these names itself; rename, e.g. {example}"
    deep = [n for n in names if depth(schema.field(n).type) > MAX_DEPTH]
    if deep:
        yield f"{_listed(deep)}: nested more than {MAX_DEPTH} deep; drop it"
        return
    binary = [n for n in names if n not in _OWN_COLUMNS and holds_binary(schema.field(n).type)]
    if binary:
        yield f"{_listed(binary)}: binary data would be published unchecked; drop it"


def check_columns(names: Sequence[str], where: str) -> None:
    """Raise ManifestError for more columns than a table of images can have."""
    if len(names) > MAX_COLUMNS:
        raise ManifestError(f"{where}: {len(names):,} columns; at most {MAX_COLUMNS:,} are read: drop the others")


def depth(column_type: pa.DataType) -> int:
    """Return how deep lists and structs are nested in a type: 0 for a plain one."""
    level, types = 0, [column_type]
    while types := [kind.field(at).type for kind in types for at in range(kind.num_fields)]:
        level += 1
    return level


def _listed(names: Sequence[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(f"`{n}`" for n in names)


def fixed_name(name: str) -> str:
    """Return the fixed column that a column of a file stands for: `regions` for its old name."""
    return REGIONS_COLUMN if name == OLD_REGIONS_COLUMN else name


def is_image_struct(column_type: pa.DataType) -> bool:
    """Return whether this is struct<bytes, path>, the type of images in Parquet files."""
    if not pa.types.is_struct(column_type) or column_type.get_field_index("bytes") < 0:
        return False
    return _is_binary(column_type.field("bytes").type)


def _is_binary(column_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(column_type)
        or types.is_large_binary(column_type)
        or types.is_fixed_size_binary(column_type)
        or types.is_binary_view(column_type)
    )


def holds_binary(column_type: pa.DataType) -> bool:
    """Return whether the type is binary or has binary in it at any depth."""
    if pa.types.is_dictionary(column_type):
        return holds_binary(column_type.value_type)
    if isinstance(column_type, pa.BaseExtensionType):
        return holds_binary(column_type.storage_type)
    return _is_binary(column_type) or any(
        holds_binary(column_type.field(i).type) for i in range(column_type.num_fields)
    )


def accepts(name: str, column_type: pa.DataType) -> bool:
    """Return whether a fixed column, or `regions` under its old name, may have this type in a file."""
    if pa.types.is_null(column_type):
        return name not in ("image_id", "uri")
    if name in ("image_id", "uri", "sha256"):
        return is_text(column_type)
    if fixed_name(name) == REGIONS_COLUMN:
        return is_regions(column_type)
    return bool(pa.types.is_integer(column_type))


def normalise_column(name: str, column: pa.ChunkedArray) -> pa.Array:
    """Return a fixed column as its type in FIXED_SCHEMA.

    Regions get NaN for null coordinates, DEFAULT_LABEL for a null label and False for a null flag.

    Raises:
        pa.ArrowInvalid: a value does not fit the type.
    """
    target = FIXED_SCHEMA.field(fixed_name(name)).type
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    return normalise_regions(array) if fixed_name(name) == REGIONS_COLUMN else array.cast(target)
