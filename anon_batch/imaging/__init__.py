"""Picture files: bytes to pixels and back, without anything around the pixels.

`decode`: bytes to a DecodedImage, or a FailedError with a reason code. `encode`: that, and what a method made
of it, to an EncodedImage that `inspect` finds nothing in. `metadata`: `strip` at byte level, and `inspect` as
its independent check.
"""
