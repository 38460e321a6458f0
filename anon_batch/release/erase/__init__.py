"""Erase rows of a release: a new version without them, a ledger that forgets them, and a list of what survives elsewhere."""
