"""What a release says it is: computed from what was done and from what became of ledger and keys, never configured."""
