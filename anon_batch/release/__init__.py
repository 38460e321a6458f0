"""Check and describe a release: verify, status, report."""
