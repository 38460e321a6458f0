"""Developer tools: `python -m tools.NAME`."""
