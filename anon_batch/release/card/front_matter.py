"""The metadata at the beginning of the card: which files are which split, and what their columns hold.

`load_dataset` of Hugging Face reads it, and so does the Hub. Source: the Hub's documentation of `configs` and `dataset_info`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.formats import layout
from anon_batch.formats.features import IMAGE, to_yaml
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.splits import Split
from anon_batch.release.card.split_images import SplitImages, shard_patterns
from anon_batch.release.card.tar_features import TarMembers, tar_features
from anon_batch.release.report.words import clean

_SHARDS = {"webdataset": f"{layout.SHARDS}/*.tar", "parquet": f"{layout.SHARDS}/*.parquet"}
# Identifiers of the Hub that data is published under; they are SPDX's in small letters.
_HUB_LICENCE = re.compile(
    r"cc0-1\.0|cc-by-(?:[234]\.0|2\.5)|cc-by-(?:sa|nc|nc-sa|nc-nd)-[34]\.0|cc-by-nc(?:-sa)?-2\.0|cc-by-nd-4\.0|odbl|odc-by|pddl|"
    r"c-uda|cdla-(?:permissive-[12]|sharing-1)\.0|gfdl|mit|apache-2\.0|bsd-[23]-clause"
)
_LICENCE_NAME = re.compile(r"[\w .,;:()/+-]{1,80}")
_ALL = "train"  # what loaders call the split of everything
_ORDER = ("train", "validation", "test")
_TEXT: Mapping[str, Any] = {"dtype": "string", "_type": "Value"}
_FLAG: Mapping[str, Any] = {"dtype": "bool", "_type": "Value"}


def describe_for_loaders(record: RunJson, images: SplitImages, tars: TarMembers) -> dict[str, Any]:
    """Return the metadata as YAML values.

    In the layouts `files` and `webdataset` one loader reads all configurations, so that the provenance is none of them.

    Args:
        record: run.json.
        images: how many each split has.
        tars: what members they have, in the layout `webdataset`.
    """
    files = list(_data_files(record, images))
    configs: list[dict[str, Any]] = [{"config_name": "default", "default": True, "data_files": files}]
    if record.layout == "parquet":
        configs.append({"config_name": "provenance", "data_files": f"{layout.PROVENANCE}/*.parquet"})
    about = {"pretty_name": clean(record.name), **_licence(record), "tags": ["anonymized", "anon-batch"]}
    card = {**about, "configs": configs}
    features = _features(record, tars)
    return {**card, "dataset_info": {"config_name": "default", "features": to_yaml(features)}} if features else card


def _licence(record: RunJson) -> dict[str, str]:
    """Return the licence of the release as the Hub has it: one of its identifiers, or `other` with its name, if it is short."""
    stated = " ".join((record.compliance.get("licence") or "").split())
    if not stated:
        return {}
    if _HUB_LICENCE.fullmatch(stated.lower()):
        return {"license": stated.lower()}
    return {"license": "other", **({"license_name": stated} if _LICENCE_NAME.fullmatch(stated) else {})}


def loadable_splits(record: RunJson, images: SplitImages) -> list[Split]:
    """Return the splits that loaders can tell apart and that have images, the usual ones first.

    In the layout `files` each needs a folder, in the others shards of its own. A single one needs neither.
    """
    splits = record.splits
    apart = all(split.folder for split in splits) if record.layout == "files" else images.are_apart
    if len(splits) > 1 and not apart:
        return []
    rank = {name: at for at, name in enumerate(_ORDER)}
    return sorted((own for own in splits if images.counts[own.name]), key=lambda own: rank.get(own.name, len(rank)))


def _data_files(record: RunJson, images: SplitImages) -> Iterator[dict[str, Any]]:
    everything = _SHARDS.get(record.layout, f"{layout.IMAGES}/**")
    found = loadable_splits(record, images)
    if len(record.splits) < 2 or not found:
        yield {"split": found[0].name if found else _ALL, "path": everything}
        return
    for split in found:
        if record.layout == "files":
            yield {"split": split.name, "path": f"{layout.IMAGES}/{split.folder}/**"}
        else:
            suffix = everything.rpartition("*")[2]
            paths = [f"{layout.SHARDS}/{own}{suffix}" for own in shard_patterns(split.start, split.stop)]
            yield {"split": split.name, "path": paths}


def _features(record: RunJson, tars: TarMembers) -> dict[str, Any]:
    """Return column -> feature of what loaders find; nothing where that is not known of every column."""
    known, published = record.columns.get("features", {}), record.columns.get("published", [])
    if set(known) != set(published):
        return {}
    if record.layout == "webdataset":
        return tar_features({name: known[name] for name in published}, tars)
    own = {"image": IMAGE, "image_id": _TEXT, "synthetic": _FLAG}
    return {**own, **{name: known[name] for name in published}}
