"""Metadata of image files: strip it, inspect what is left."""
