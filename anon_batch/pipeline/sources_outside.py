"""Check that no source of a job lies in its OUTPUT, which will be published, or in its ledger."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ConfigError
from anon_batch.manifest.addresses import parse_cell
from anon_batch.storage import absolute, is_local

_INDIRECT = r"^[^:]*(//|/\.\.?/)"  # a local path with another spelling


class SourcesOutside:
    """Check the sources of a manifest, table by table.

    Args:
        output: address of OUTPUT.
        ledger: address of the ledger.
    """

    def __init__(self, output: str, ledger: str) -> None:
        self._places = [
            (key, uri, prefix) for key, uri in (("output", output), ("ledger", ledger)) for prefix in _spellings(uri)
        ]

    def check(self, table: pa.Table) -> None:
        """Check the rows of a table.

        Raises:
            ConfigError: a source lies below OUTPUT or the ledger.
        """
        uris = pc.fill_null(table.column("uri").combine_chunks(), "")
        uris = pc.replace_substring_regex(uris, "^s3a://", "s3://")
        if pc.any(indirect := pc.match_substring_regex(uris, _INDIRECT)).as_py():
            marked = zip(uris.to_pylist(), indirect.to_pylist(), strict=True)
            uris = pa.array([absolute(uri) if is_indirect else uri for uri, is_indirect in marked], pa.string())
        for key, place, prefix in self._places:
            inside = pc.starts_with(uris, prefix)
            if pc.any(inside).as_py():
                source = uris.filter(inside)[0].as_py()
                cell = parse_cell(source)
                raise ConfigError(
                    f"{key} {place} holds {cell.uri if cell else source}, a source of the manifest. "
                    + (
                        "It would be published with the release; "
                        if key == "output"
                        else "A ledger needs its own place; "
                    )
                    + f"choose another `{key}`"
                )


def _spellings(uri: str) -> set[str]:
    """Return the prefixes of addresses below a folder: as it is written, and with links resolved."""
    if not is_local(uri):
        return {uri.rstrip("/").replace("s3a://", "s3://") + "/"}
    path = absolute(uri)
    return {path.rstrip("/") + "/", os.path.realpath(path).rstrip("/") + "/"}
