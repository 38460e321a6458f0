"""Replace some blocks of a JPEG and leave every other DCT coefficient of it unchanged.

The MCUs with touched pixels are packed into a patch, coded with the file's own tables and sampling, and the patch's
blocks replace the file's.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from anon_batch.imaging.jpeg.check_splice import check_patch, check_splice
from anon_batch.imaging.jpeg.coefficients import (
    SpliceError,
    block_dims,
    finest_sampling,
    replace_rows,
    write_blocks,
)
from anon_batch.imaging.jpeg.dct import compute_coefficients
from anon_batch.imaging.jpeg.markers import (
    Component,
    JpegHeader,
    iter_segments,
    read_jpeg_header,
)
from anon_batch.imaging.jpeg.mcu_patch import McuPatch
from anon_batch.imaging.jpeg.strip import strip_jpeg, strip_segments
from anon_batch.imaging.orientation import turn_as_stored, view_as_stored
from anon_batch.records import AnonymizedImage, DecodedImage


def splice(decoded: DecodedImage, anonymized: AnonymizedImage) -> bytes:
    """Return the source JPEG with the blocks of the touched MCUs replaced, in its stored orientation, without metadata.

    The result is decoded and compared with the source's pixels and with the new blocks': see `check_splice`.

    Raises:
        SpliceError: CMYK or RGB components, samplings where a component is not a whole fraction of the
            finest, a file that libjpeg cannot read, or a result that fails the comparison.
    """
    plain, segments = strip_segments(decoded.source, iter_segments(decoded.source), orientation=1)
    header = read_jpeg_header(plain, segments)
    components = choose_sampling(header)
    before = turn_as_stored(decoded.pixels, decoded.orientation)
    after = view_as_stored(anonymized.pixels, decoded.orientation)
    touched = turn_as_stored(anonymized.touched, decoded.orientation)
    patch = McuPatch.from_mask(touched, components)
    if not patch.runs:
        return strip_jpeg(replace_rows(plain, header, components, {}), orientation=decoded.orientation)
    # Take the new pixels only where they were touched.
    mask = patch.cut(touched, 0).view(np.uint8)
    expected = cv2.copyTo(patch.cut(after, 128), mask, patch.cut(before, 128))
    luma, blocks = compute_coefficients(expected, header, components)
    size = dataclasses.replace(header, width=patch.width, height=patch.height)
    coded = write_blocks(plain, size, components, blocks)
    pixels = check_patch(coded, patch, luma, header.tables[components[0].table])
    out = replace_rows(plain, header, components, patch.to_rows(blocks, components, block_dims(header, components)))
    check_splice(out, before, patch, pixels)
    return strip_jpeg(out, orientation=decoded.orientation)


def choose_sampling(header: JpegHeader) -> tuple[Component, ...]:
    """Return the components with the sampling to code them by.

    Raises:
        SpliceError: the file cannot be spliced.
    """
    components = header.components
    if len(components) not in (1, 3) or header.is_rgb:
        raise SpliceError("components other than Y or YCbCr")
    if any(0 in header.tables.get(c.table, (0,)) for c in components):
        raise SpliceError("a missing quantisation table, or one with a step of 0")
    if len(components) == 1:
        return (components[0]._replace(horizontal=1, vertical=1),)  # because a lone component is never interleaved
    widest, highest = finest_sampling(components)
    if any(c.horizontal == 0 or c.vertical == 0 for c in components):
        raise SpliceError("a sampling factor of 0")
    if any(widest % c.horizontal or highest % c.vertical for c in components):
        raise SpliceError("fractional sampling")
    return components
