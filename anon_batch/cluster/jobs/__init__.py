"""Jobs on a Ray cluster through Ray's job server: submit, follow, stop."""
