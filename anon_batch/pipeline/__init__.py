"""Planning, processing and committing shards, and checking what came of it. No Ray here: any dispatcher can drive it."""
