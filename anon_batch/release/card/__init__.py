"""README.md and metadata.parquet: what a release is, for people, and for programs that load it."""
