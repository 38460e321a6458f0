"""Check before the first read that the operator allows the sources of a manifest."""

from __future__ import annotations

import os

import pyarrow as pa

from anon_batch.errors import ConfigError
from anon_batch.manifest.addresses import parse_cell
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.redaction import redact_address
from anon_batch.storage import is_local


class RefusedSources:
    """Count the rows whose address is refused, table by table. Those rows fail one by one as `source_refused`.

    Args:
        allowed: what may be read.
    """

    def __init__(self, allowed: AllowedSources) -> None:
        self._allowed = allowed
        self._first: tuple[str, str] | None = None
        self._folder = ""
        self.rows_count = self.refused_count = 0

    def check(self, table: pa.Table) -> None:
        """Check the addresses of a table's rows by their text; links and names are resolved when they are read."""
        for uri in table.column("uri").to_pylist():
            self.rows_count += 1
            if uri and (reason := self._allowed.refusal(uri)) is not None:
                self.refused_count += 1
                if self._first is None:
                    self._first, self._folder = (_file(uri), reason), _folder(_file(uri))
                elif not uri.startswith(self._folder):
                    self._folder = _shared(self._folder, _folder(_file(uri)))

    def finish(self) -> None:
        """Raise if nothing is left to read.

        Raises:
            ConfigError: all rows are refused; names the first, and what to add to `sources.allow`.
        """
        if self._first is None or self.refused_count < self.rows_count:
            return
        file, reason = self._first
        entry = self._folder if self._folder.strip("/") else _folder(file)
        raise ConfigError(
            f"no row of the manifest may be read: {file}: {reason}. A manifest cannot allow this itself, because others may have "
            f"written it: if you trust it, use --set 'sources.allow=[{entry}]', or build it beside the images"
        )


def _file(uri: str) -> str:
    cell = parse_cell(uri)
    return redact_address(uri if cell is None else cell.uri)


def _shared(folder: str, other: str) -> str:
    """Return the folder above both, with a slash at its end; "" if they share none."""
    if not (folder and is_local(folder) and is_local(other)):
        return ""
    return os.path.commonpath([folder, other]).rstrip("/") + "/"


def _folder(uri: str) -> str:
    head, slash, _ = uri.rpartition("/")
    return head + slash or uri
