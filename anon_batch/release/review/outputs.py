"""Read and decode the outputs of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anon_batch.errors import IntegrityError, RowError
from anon_batch.formats import outputs as stored
from anon_batch.formats.release import Release
from anon_batch.imaging.decode import decode
from anon_batch.records import PixelArray
from anon_batch.release.review.sample import Output


def read_outputs(release: Release, outputs: Sequence[Output]) -> Iterator[tuple[Output, bytes]]:
    """Yield outputs with their files, see `formats.outputs.read_outputs`.

    Raises:
        IntegrityError: an output is missing, or is not the one that the provenance names.
    """
    for own, data in stored.read_outputs(release, outputs):
        if isinstance(data, IntegrityError):
            raise data
        yield own, data


def decode_output(output: Output, data: bytes) -> PixelArray:
    """Return the upright pixels of an output, (H, W, 3) uint8 RGB.

    Raises:
        IntegrityError: it does not decode, or to another size.
    """
    try:
        pixels = decode(output.image_id, data).pixels
    except RowError as exc:
        raise IntegrityError(f"{output.image_id}: the output does not decode ({exc})") from None
    if pixels.shape[:2] != (output.height, output.width):
        raise IntegrityError(f"{output.image_id}: the output has another size than the provenance says")
    return pixels
