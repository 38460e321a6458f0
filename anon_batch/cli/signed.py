"""Says that a release which was signed has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anon_batch.cli.console import err
from anon_batch.formats import layout

if TYPE_CHECKING:
    from anon_batch.formats.release import Release


def warn_if_signed(release: Release, name: str) -> None:
    """Print to stderr that the signature, if there is one, does not cover the file `name`, which was just written."""
    if release.storage.exists(release.address(layout.ATTESTATION)):
        err.print(
            f"this release is signed, and its signature does not cover the new {name}: sign it again", markup=False
        )
