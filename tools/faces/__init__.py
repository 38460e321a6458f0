"""Measure and show replaced faces on images that do not come with the repository: `python -m tools.faces --help`."""
