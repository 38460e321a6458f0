"""The files of a release and its ledger."""
