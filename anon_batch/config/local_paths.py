"""Local paths of a job file are absolute once it is read, because workers have another working folder than the driver."""

from __future__ import annotations

import os


def absolute_path(address: str) -> str:
    """Return an address with a plain local path made absolute; addresses with a protocol stay as they are."""
    if not address or "://" in address or "::" in address:
        return address
    return os.path.abspath(os.path.expanduser(address))
