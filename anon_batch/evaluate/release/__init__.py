"""Measure a finished release against its sources, task by task: states that merge, whatever the division into tasks."""
