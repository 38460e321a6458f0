"""Anonymization methods, one file each."""
