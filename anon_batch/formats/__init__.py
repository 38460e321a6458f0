"""The files of a release and of its ledger: where each lies, what it holds, how it is read and written."""
