"""The features of tars as `load_dataset` reads them: a column for each extension of the members of a sample.

Without them the loader takes the features from the first five samples, and fails at a later one that differs.

Source: `datasets.packaged_modules.webdataset`.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Mapping
from itertools import islice, pairwise
from typing import Any, NamedTuple

import pyarrow.compute as pc

from anon_batch.errors import IntegrityError
from anon_batch.formats.features import IMAGE, class_names
from anon_batch.formats.release import Release
from anon_batch.formats.tar_shard import CLASS, JSON, TEXT, TEXT_FIELDS, sample_key
from anon_batch.shards import effective

_LABEL = "label"  # a column whose numbers are members, too
_DECODED = {
    CLASS: "int64",
    "cls2": "int64",
    TEXT: "string",
    "text": "string",
    "transcript": "string",
}  # others stay bytes
_IN_JSON = frozenset({"null", "bool", "float32", "float64", "string", "large_string"})
_OF_LOADER = ("__key__", "__url__")


class TarMembers(NamedTuple):
    """The extensions of the members of samples.

    Args:
        images: of the images of all samples; empty where samples have several images, or where there is none.
        texts: out of TEXT_FIELDS, of the first sample, because all have the same.
    """

    images: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()


def read_tar_members(release: Release) -> TarMembers:
    """Return the members of a release of tars: names of images from the provenance, others from the first sample.

    Raises:
        IntegrityError: a part of the provenance, or the first tar, is damaged.
        StorageError: storage fails or refuses.
    """
    images: set[str] = set()
    first: str | None = None
    for spec in effective(release.parts()):
        table = release.read_part(spec).table
        table = table.filter(pc.is_valid(table.column("member")))
        members = table.column("member").to_pylist()
        first = first or next(iter(table.column("output").to_pylist()), None)
        if any(sample_key(one) == sample_key(other) for one, other in pairwise(members)):
            return TarMembers()
        images.update(map(_extension, members))
    return TarMembers() if first is None else TarMembers(frozenset(images), _texts(release, first))


def _texts(release: Release, key: str) -> frozenset[str]:
    try:
        with release.storage.open(release.address(key)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            names = [info.name for info in islice(tar, 2 + len(TEXT_FIELDS))]
    except tarfile.TarError as exc:
        raise IntegrityError(f"{key}: damaged ({type(exc).__name__}: {exc})") from None
    own = {_extension(name) for name in names if sample_key(name) == sample_key(names[0])}
    return frozenset(own & {*TEXT_FIELDS})


def _extension(name: str) -> str:
    return posixpath.basename(name).partition(".")[2]


def tar_features(known: Mapping[str, Any], members: TarMembers) -> dict[str, Any]:
    """Return extension -> feature of the members; nothing if they cannot be known, as those of JSON of the source.

    Args:
        known: features of all published columns.
        members: of the tars.
    """
    if not members.images or JSON in known or any("." in own for own in members.images):
        return {}
    found: dict[str, Any] = dict.fromkeys(sorted(members.images), IMAGE)
    texts = [name for name in TEXT_FIELDS if name in known and (name in members.texts or name in (CLASS, TEXT))]
    if CLASS in known or _is_whole(known.get(_LABEL)):
        found[CLASS] = _class(known.get(CLASS, known.get(_LABEL)))
    found.update((name, _value(_DECODED.get(name, "binary"))) for name in texts if name != CLASS)
    own = {"image_id": "string", "width": "int64", "height": "int64", "synthetic": "bool"}
    others = {name: _in_json(feature) for name, feature in known.items() if name not in (*texts, "__key__")}
    found[JSON] = {**{name: _value(dtype) for name, dtype in own.items()}, **others}
    return {**found, **{name: _value("string") for name in _OF_LOADER}}


def _class(feature: Any) -> Any:
    return feature if class_names(feature) else _value("int64")  # because the loader reads its text as a number


def _is_whole(feature: Any) -> bool:
    if not isinstance(feature, Mapping):
        return False
    return class_names(feature) is not None or str(feature.get("dtype", "")).lstrip("u").startswith("int")


def _in_json(feature: Any) -> Any:
    """Return the feature of a value in JSON, where dates and the like are texts."""
    if isinstance(feature, list):
        return [_in_json(feature[0])]
    kind = feature.get("_type")
    if kind is None:
        return {name: _in_json(inner) for name, inner in feature.items()}
    if "feature" in feature:
        return {**feature, "feature": _in_json(feature["feature"])}
    if kind == "Value" and feature["dtype"] not in _IN_JSON and not _is_whole(feature):
        return _value("float32" if feature["dtype"] == "float16" else "string")
    return feature


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}
