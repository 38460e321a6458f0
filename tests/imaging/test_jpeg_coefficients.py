"""Coefficients read and written: the file's own tables, whatever its size."""

import dataclasses
import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from anon_batch.imaging.jpeg.coefficients import SpliceError, block_dims, read_blocks, replace_rows, write_blocks
from anon_batch.imaging.jpeg.markers import DQT, iter_segments, read_jpeg_header
from anon_batch.imaging.jpeg.strip import strip_jpeg


def make_image(mode="RGB", size=(75, 41), **options):
    out = io.BytesIO()
    coarse = np.random.default_rng(4).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(out, "JPEG", **options)
    return strip_jpeg(out.getvalue())


FILES = {
    "420": make_image(subsampling=2),
    "444": make_image(subsampling=0),
    "grey": make_image("L"),
    "cmyk": make_image("CMYK"),
    "rgb": make_image(keep_rgb=True),
    "progressive": make_image(progressive=True),
    "restarts": make_image(restart_marker_blocks=2),
}


@pytest.mark.parametrize("name", FILES)
def test_coefficients_round_trip(name, capfd):
    data = FILES[name]
    header = read_jpeg_header(data)
    blocks = read_blocks(data, header, header.components)
    again = write_blocks(data, header, header.components, blocks)
    after = read_jpeg_header(again)
    assert (after.width, after.height, after.components, after.tables) == (75, 41, header.components, header.tables)
    for a, b in zip(blocks, read_blocks(again, after, after.components), strict=True):
        np.testing.assert_array_equal(a, b)
    assert capfd.readouterr() == ("", "")  # libjpeg warns there


@pytest.mark.parametrize("name", ["420", "444", "grey", "progressive"])
@pytest.mark.parametrize("size", [(16, 16), (500, 3), (33, 190)])
def test_another_size_has_the_same_tables(name, size, capfd):
    data = FILES[name]
    header = dataclasses.replace(read_jpeg_header(data), width=size[0], height=size[1])
    random = np.random.default_rng(1)
    blocks = [random.integers(-40, 40, (*dims, 64)).astype(np.int16) for dims in block_dims(header, header.components)]
    out = write_blocks(data, header, header.components, blocks)
    found = read_jpeg_header(out)
    assert (found.width, found.height) == size
    assert (found.components, found.tables) == (header.components, header.tables)
    for a, b in zip(blocks, read_blocks(out, found, found.components), strict=True):
        np.testing.assert_array_equal(a, b)
    assert simplejpeg.decode_jpeg(out, "GRAY").shape == (size[1], size[0], 1)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_libjpeg_cannot_read_is_an_error():
    data = FILES["420"]
    without = b"".join(data[s.start : s.end] for s in iter_segments(data) if s.marker != DQT)
    header = read_jpeg_header(data)
    with pytest.raises(SpliceError, match="read"):
        read_blocks(without, header, header.components)
    with pytest.raises(SpliceError, match="write"):
        write_blocks(without, header, header.components, read_blocks(data, header, header.components))


@pytest.mark.parametrize("change", [{"sof": 0xC3}, {"sof": 0xC5}, {"precision": 12}])
def test_an_unknown_frame_never_reaches_libjpeg(change):
    header = dataclasses.replace(read_jpeg_header(FILES["420"]), **change)
    with pytest.raises(SpliceError, match="kind"):
        read_blocks(FILES["420"], header, header.components)


def test_replaced_rows_change_only_their_blocks():
    data = FILES["420"]
    header = read_jpeg_header(data)
    before = read_blocks(data, header, header.components)
    out = replace_rows(data, header, header.components, {(0, 1): [(2, np.ones((2, 64), np.int16))]})
    after = read_blocks(out, header, header.components)
    assert (after[0][1, 2:4] == 1).all()
    after[0][1, 2:4] = before[0][1, 2:4]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_part_beyond_its_row_is_an_error():
    data = FILES["420"]
    header = read_jpeg_header(data)
    columns = block_dims(header, header.components)[0][1]
    with pytest.raises(ValueError, match="broadcast"):
        replace_rows(data, header, header.components, {(0, 0): [(columns - 1, np.ones((2, 64), np.int16))]})
