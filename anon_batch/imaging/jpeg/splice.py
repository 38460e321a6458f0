"""Replacing some blocks of a JPEG and leaving every other DCT coefficient of it alone.

The treated pixels of the MCUs that were touched are cut out as a sheet, coded with the file's own tables and sampling,
and the sheet's blocks put among the file's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from anon_batch.imaging.jpeg.check_splice import check_sheet, check_splice
from anon_batch.imaging.jpeg.coefficients import (
    BASELINE,
    Coefficients,
    Rows,
    SpliceError,
    block_dims,
    empty_picture,
    finest,
    put_parts,
    read_blocks,
    write_blocks,
)
from anon_batch.imaging.jpeg.dct import coefficients_of
from anon_batch.imaging.jpeg.markers import Component, JpegHeader, Segment, read_header, segments, strip_jpeg, stripped
from anon_batch.imaging.jpeg.mcu_patch import Sheet
from anon_batch.imaging.jpeg.turbojpeg import exchange_rows
from anon_batch.imaging.metadata.orientation import stored, stored_view
from anon_batch.records import AnonymizedImage, DecodedImage


def splice(decoded: DecodedImage, anonymized: AnonymizedImage) -> bytes:
    """The source JPEG with the blocks of the touched MCUs exchanged, in its stored orientation, without
    metadata.

    The result is decoded and compared with the source's pixels and with the new blocks': see `jpeg_check`.

    Raises:
        SpliceError: CMYK or RGB components, samplings where a component is not a whole fraction of the
            finest, a file that libjpeg refuses, or a result that fails the comparison.
    """
    plain, found = stripped(decoded.source, segments(decoded.source), orientation=1)
    header = read_header(plain, found)
    components = _spliceable(header)
    before, touched = (stored(samples, decoded.orientation) for samples in (decoded.pixels, anonymized.touched))
    treated = stored_view(anonymized.pixels, decoded.orientation)
    sheet = Sheet.of(touched, components)
    if not sheet.runs:
        return strip_jpeg(_exchanged(plain, header, components, {}), orientation=decoded.orientation)
    # The treated pixels where they count, elsewhere those before.
    meant = cv2.copyTo(sheet.cut(treated, 128), sheet.cut(touched, 0).view(np.uint8), sheet.cut(before, 128))
    luma, new = coefficients_of(meant, header, components)
    size = dataclasses.replace(header, width=sheet.width, height=sheet.height)
    coded = _coded(plain, found, size, components, new)
    pixels = check_sheet(coded, sheet, luma, header.tables[components[0].table])
    out = _exchanged(plain, header, components, sheet.rows_of(new, components, block_dims(header, components)))
    check_splice(out, before, sheet, pixels)
    return strip_jpeg(out, orientation=decoded.orientation)


def rewrite(data: bytes) -> bytes:
    """The same coefficients in newly coded scans, without anything between them.

    Raises:
        SpliceError: libjpeg refuses the file.
    """
    header = read_header(data)
    return write_blocks(data, header, header.components, read_blocks(data, header, header.components))


def _coded(
    plain: bytes,
    found: Sequence[Segment],
    size: JpegHeader,
    components: tuple[Component, ...],
    blocks: Sequence[Coefficients],
) -> bytes:
    rows = {(index, row): [(0, part)] for index, parts in enumerate(blocks) for row, part in enumerate(parts)}
    if (out := exchange_rows(empty_picture(plain, size, components, found), rows)) is not None:
        return out
    return write_blocks(plain, size, components, blocks)


def _exchanged(plain: bytes, header: JpegHeader, components: tuple[Component, ...], rows: Rows) -> bytes:
    if header.sof == BASELINE and (out := exchange_rows(plain, rows)) is not None:
        return out
    blocks = read_blocks(plain, header, components)
    for (index, row), parts in rows.items():
        put_parts(blocks[index][row], parts)
    return write_blocks(plain, header, components, blocks)


def _spliceable(header: JpegHeader) -> tuple[Component, ...]:
    components = header.components
    if len(components) not in (1, 3) or header.is_rgb:
        raise SpliceError("components other than Y or YCbCr")
    if any(0 in header.tables.get(c.table, (0,)) for c in components):
        raise SpliceError("a missing quantisation table, or one with a step of 0")
    if len(components) == 1:
        return (components[0]._replace(horizontal=1, vertical=1),)  # a lone component is never interleaved
    widest, highest = finest(components)
    if any(c.horizontal == 0 or c.vertical == 0 for c in components):
        raise SpliceError("a sampling factor of 0")
    if any(widest % c.horizontal or highest % c.vertical for c in components):
        raise SpliceError("fractional sampling")
    return components
