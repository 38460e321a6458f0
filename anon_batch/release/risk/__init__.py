"""The risk worksheet of a release: what was measured about re-identification, in the order in which auditors ask for it."""
