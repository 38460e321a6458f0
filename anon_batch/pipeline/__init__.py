"""Plan a run, process its shards and commit them. Nothing here imports Ray."""
