"""Image files: decode bytes to pixels and encode pixels to bytes that hold nothing else.

`source.SourceImage` opens a file and gives a preview for detectors and the whole image for everything else. `encode`
writes the image, unchanged or anonymized, to a file in which `metadata.inspect` finds nothing.
"""
