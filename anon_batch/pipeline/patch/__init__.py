"""A new version of a release in which only the rows are done again that a change touches."""
