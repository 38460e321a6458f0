"""Dataset-scale image anonymization: a manifest of images in, an anonymized release and its evidence out."""

__version__ = "0.1.0"
