"""Refuse files of other format versions with advice."""

from __future__ import annotations


def explain_other_version(uri: str, kind: str, found: object, current: int) -> str:
    """Return the message for a file whose format version is not the one that this package reads.

    Args:
        uri: address of the file.
        kind: what the file belongs to: "release" or "ledger".
        found: the file's version.
        current: the version that this package reads and writes.
    """
    if str(found).isdecimal() and int(str(found)) < current:
        return (
            f"{uri}: an older version of anon-batch wrote this {kind} (format {found}, this one reads {current}). "
            "Use that version to read it, or run the job again with a new output and a new ledger"
        )
    return f"{uri}: format version {found!r}, this version of anon-batch reads {current}. Update anon-batch"
