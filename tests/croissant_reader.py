"""Records of a release as mlcroissant reads them."""

from __future__ import annotations

import gc
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch


def read_records(folder: Path, record_set: str) -> list[dict[str, Any]]:
    """Return the records of a record set of the release in a folder."""
    import mlcroissant
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    with (
        tempfile.TemporaryDirectory() as unpacked,  # because it keeps what it unpacks in the user's cache
        patch.object(extract, "EXTRACT_PATH", epath.Path(unpacked)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing files to the collector
        found = list(dataset.records(record_set))
        gc.collect()
        return found
