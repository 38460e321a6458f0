"""Read a release as a data set of Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def load_dataset(folder: Path, cache: Path) -> Any:
    """Return the splits of a folder, without the network; skip the test where the package is missing."""
    datasets = pytest.importorskip("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        return datasets.load_dataset(str(folder), cache_dir=str(cache))
