"""JPEG files at the level of segments and DCT coefficients."""
