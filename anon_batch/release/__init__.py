"""Finished releases: verify, status, report."""
