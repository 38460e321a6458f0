"""The manifest: the Parquet list of a dataset's images, how it is read, checked and built.

Reading and checking live in `schema`, `read` and `check`; building in `build`, with one module a kind of source in `importers`.
What other files know of the images is in `joins` (tables), `truth` (labelled regions) and `expect` (what a dataset has).
"""

from __future__ import annotations

from anon_batch.manifest.build import build_manifest
from anon_batch.manifest.build_report import BuildReport
from anon_batch.manifest.check import RowChecker, check_rows
from anon_batch.manifest.read import ManifestFile, open_manifest, rows_from_table

__all__ = [
    "BuildReport",
    "ManifestFile",
    "RowChecker",
    "build_manifest",
    "check_rows",
    "open_manifest",
    "rows_from_table",
]
