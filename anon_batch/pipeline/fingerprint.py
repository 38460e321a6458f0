"""Fingerprint a job: manifest rows, configuration, model digests, package version, run key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch import __version__
from anon_batch.config import JobConfig
from anon_batch.formats.features import read_features
from anon_batch.formats.run_json import OUTPUT_SECTIONS
from anon_batch.formats.services import without_resources
from anon_batch.pipeline.secret_keys import run_key_check

_SHOWN_CHARACTERS = 100
_SHOWN_ALIKE = 30
_SHOWN_DIFFERENCES = 8
_DIGEST = re.compile(r"\b[0-9a-f]{16,}\b")


class RowsDigest:
    """Digest the values of tables, one after the other, independent of their chunks, and the features of their columns.

    Nulls differ from empty values.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}
        self._features: dict[str, Any] = {}

    def update(self, table: pa.Table) -> None:
        self._features = self._features or read_features(table.schema.metadata)
        for name in table.column_names:
            digest = self._columns.setdefault(name, hashlib.sha256(f"{name}:{table.schema.field(name).type}".encode()))
            for chunk in table.column(name).chunks:
                _update(digest, chunk)

    def hexdigest(self) -> str:
        parts = {name: digest.hexdigest() for name, digest in self._columns.items()}
        parts["names of classes"] = json.dumps(self._features, sort_keys=True)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _update(digest: Any, array: pa.Array) -> None:
    """Hash one array's validity and values. Because slices and padding would show, do not hash its buffers."""
    if len(array) == 0:
        return
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    digest.update(
        np.packbits(pc.is_valid(array).to_numpy(zero_copy_only=False)).tobytes() if array.null_count else b"v"
    )
    kind = array.type
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            _update(digest, pc.struct_field(array, index))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        digest.update(_int64(pc.list_value_length(array)))
        _update(digest, pc.list_flatten(array))
    elif (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    ):
        binary = array.cast(pa.large_binary())
        digest.update(_int64(pc.binary_length(binary)))
        digest.update(_concatenated(binary))
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        digest.update(np.ascontiguousarray(pc.fill_null(array, 0).to_numpy(zero_copy_only=False)).tobytes())
    else:  # booleans, dates, decimals, ...: rare in manifests, so the slow way will do
        digest.update(repr(array.to_pylist()).encode())


def _int64(lengths: pa.Array) -> bytes:
    values: bytes = pc.fill_null(lengths.cast(pa.int64()), -1).to_numpy(zero_copy_only=False).tobytes()
    return values


def _concatenated(binary: pa.Array) -> bytes:
    offsets = np.frombuffer(binary.buffers()[1], np.int64)[binary.offset : binary.offset + len(binary) + 1]
    data = binary.buffers()[2]
    return b"" if data is None else bytes(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def fingerprint(
    config: JobConfig, rows_sha256: str, total: int, models: Sequence[str], run_key: bytes, persons: str | None = None
) -> dict[str, Any]:
    """Return everything that the outputs depend on, as JSON values by dotted name.

    The digest of `persons` is one of them where faces were compared.

    Resources, addresses and storage options are not part of it, because they may change between two runs of a job.
    """
    keys: dict[str, Any] = {}
    values = without_resources(config.model_dump(mode="json", include=set(OUTPUT_SECTIONS)))
    for section in OUTPUT_SECTIONS:
        _flatten(section, values[section], keys)
    return {
        "name": config.name,
        **keys,
        "engine.shard_rows": config.engine.shard_rows,
        "manifest rows": rows_sha256,
        "manifest row count": total,
        "models": list(models),
        "package version": __version__,
        **({} if persons is None else {"persons": persons}),
        "run key": run_key_check(run_key),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line for each value of the fingerprint that differs, at most a handful."""
    lines = [
        "{}: was {}, is {}".format(key, *_around_difference(old.get(key), new.get(key)))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    more = len(lines) - _SHOWN_DIFFERENCES
    return lines if more <= 0 else [*lines[:_SHOWN_DIFFERENCES], f"and {more} more"]


def _flatten(prefix: str, value: Any, out: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}", inner, out)
    else:
        out[prefix] = value


def _around_difference(*values: Any) -> list[str]:
    """Return the values as JSON of at most 100 characters; of long ones that begin alike, the part that differs."""
    texts = [_DIGEST.sub(lambda digest: digest[0][:8], json.dumps(value)) for value in values]
    alike = len(list(takewhile(lambda both: both[0] == both[1], zip(*texts, strict=False))))
    if max(map(len, texts)) > _SHOWN_CHARACTERS and alike > _SHOWN_ALIKE:
        texts = ["..." + text[alike - _SHOWN_ALIKE :] for text in texts]
    return [text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..." for text in texts]
