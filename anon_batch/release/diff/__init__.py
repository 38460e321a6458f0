"""Compare a release with its source: the same rows in the same order, and no pixel changed but inside the regions."""
