"""JPEG files below the level of pixels."""
