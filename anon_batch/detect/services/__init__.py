"""Detectors that are services of others: each image leaves, so the job must allow it, and every call may fail."""
