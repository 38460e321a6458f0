"""Sections of the report: each from what it is about to blocks of text, tables and plots."""
