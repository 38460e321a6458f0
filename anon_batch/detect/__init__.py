"""Finding faces.

Each detector is a file here or a plug-in; `ensemble.build_detector` puts the configured ones together.
"""
