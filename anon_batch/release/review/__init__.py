"""Review a release by eye: a page with a sample of its outputs, and what the verdicts prove."""
