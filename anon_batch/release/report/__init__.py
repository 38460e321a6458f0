"""The report of a finished release: one public page."""
