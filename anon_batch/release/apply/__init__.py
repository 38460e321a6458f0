"""Bring a copy of a release to its new version: remove what was erased, without network and without a ledger."""
