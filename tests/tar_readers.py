"""Readers of WebDatasets: the packages `webdataset` and `wids`, and one written as timm's `ReaderWds`.

timm itself needs torchvision, which is too large to be installed for tests.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import webdataset
import wids
from PIL import Image


class TimmSplit(NamedTuple):
    """A split as timm reads it: its length, and (image, number of the class) in order."""

    num_samples: int
    samples: list[tuple[Any, int]]


def read_tars(tars: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the samples of tars in order, undecoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves closing its files to the collector
        return list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))


def timm_wds(root: Path, split: str, image_key: str = "jpg;png;webp") -> TimmSplit:
    """Read a split that `_info.json` in `root` describes; the class is the number in `.cls`."""
    info = json.loads((root / "_info.json").read_bytes())["splits"][split]
    assert info["name"] == split
    assert sum(info["shard_lengths"]) == info["num_samples"]
    found = []
    for name, length in zip(info["filenames"], info["shard_lengths"], strict=True):
        samples = read_tars([root / name])
        assert len(samples) == length
        for sample in samples:
            data = next(sample[key] for key in image_key.split(";") if key in sample)
            found.append((Image.open(io.BytesIO(data)).convert("RGB"), int(sample["cls"])))
    return TimmSplit(info["num_samples"], found)


def read_wids(index: Path, cache: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the samples that an index names, with the names of extensions as wids has them: `.jpg`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = wids.ShardListDataset(str(index), cache_dir=str(cache), keep=True, transformations=[])
        yield from (found[at] for at in range(len(found)))
        found.close()


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
