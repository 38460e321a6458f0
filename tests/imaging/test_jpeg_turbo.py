"""One pass with the system's TurboJPEG: the same bytes as without it, or a refusal."""

import io
import types

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from anon_batch.config import LimitsConfig
from anon_batch.imaging.decode import decode
from anon_batch.imaging.jpeg import splice as jpeg_splice
from anon_batch.imaging.jpeg import turbojpeg as jpeg_turbo
from anon_batch.imaging.jpeg.coefficients import read_blocks
from anon_batch.imaging.jpeg.markers import read_header, strip_jpeg
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.jpeg.turbojpeg import exchange_rows
from anon_batch.records import AnonymizedImage

has_library = pytest.mark.skipif(jpeg_turbo._library() is None, reason="the system has no TurboJPEG library")


def scene(width=173, height=99):
    coarse = np.random.default_rng(9).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def with_pillow(mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


FILES = {
    **{name: simplejpeg.encode_jpeg(scene(), 85, "RGB", name) for name in ("444", "422", "420", "440", "411")},
    "grey": with_pillow("L"),
    "restarts": with_pillow(restart_marker_blocks=3),
    "optimised": with_pillow(optimize=True),
    "dense": with_pillow(dpi=(300, 300), quality=97),
    "coarse": with_pillow(quality=8),
    "without JFIF": with_pillow()[:2] + with_pillow()[20:],
}


def change_of(data):
    before = decode("a", data, LimitsConfig(), None)
    touched = np.zeros(before.pixels.shape[:2], np.bool_)
    touched[20:45, 33:61] = touched[90:, 160:] = touched[0, 0] = True
    pixels = before.pixels.copy()
    pixels[touched] = (20, 200, 90)
    return before, AnonymizedImage(pixels, touched, {0: "solid"})


def refuse(*_):
    raise AssertionError("the other way was taken")


@has_library
@pytest.mark.parametrize("name", FILES)
def test_with_and_without_the_library_the_bytes_are_the_same(name, monkeypatch, capfd):
    before, change = change_of(FILES[name])
    with monkeypatch.context() as patch:
        patch.setattr(jpeg_splice, "read_blocks", refuse)
        patch.setattr(jpeg_splice, "write_blocks", refuse)
        found = splice(before, change)
    monkeypatch.setattr(jpeg_turbo, "_library", lambda: None)
    assert found == splice(before, change)
    assert capfd.readouterr() == ("", "")


@has_library
def test_rows_are_put_in_place_and_nothing_else():
    data = strip_jpeg(FILES["420"])
    header = read_header(data)
    old = read_blocks(data, header, header.components)
    ones, twos = np.ones((2, 64), np.int16), np.full((1, 64), 2, np.int16)
    out = exchange_rows(data, {(0, 12): [(3, ones), (20, twos)], (2, 0): [(0, ones)]})
    new = read_blocks(out, header, header.components)
    old[0][12, 3:5], old[0][12, 20], old[2][0, :2] = 1, 2, 1
    for a, b in zip(old, new, strict=True):
        np.testing.assert_array_equal(a, b)


@has_library
@pytest.mark.parametrize("rows", [{(0, 900): []}, {(3, 0): []}, {(0, 0): [(21, np.ones((2, 64), np.int16))]}])
def test_rows_that_are_not_there_are_refused(rows, capfd):
    assert exchange_rows(strip_jpeg(FILES["420"]), rows) is None
    assert capfd.readouterr() == ("", "")


@has_library
@pytest.mark.parametrize("data", [b"", b"\xff\xd8", FILES["420"][:900], b"GIF89a"])
def test_what_is_broken_is_refused(data, capfd):
    assert exchange_rows(data, {}) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("options", "files"), [({}, 2), ({"progressive": True}, 1)])
def test_of_the_two_files_only_a_baseline_one_and_the_sheet_go_this_way(options, files, monkeypatch):
    asked = []
    monkeypatch.setattr(jpeg_splice, "exchange_rows", lambda data, rows: asked.append(rows))
    assert splice(*change_of(with_pillow(**options)))
    assert len(asked) == files


@pytest.mark.parametrize("name", ["libc.so.6", "libnothing-of-the-kind.so"])
def test_without_the_library_there_is_no_result(name, monkeypatch):
    monkeypatch.setattr(jpeg_turbo, "_NAME", name)
    assert jpeg_turbo._library.__wrapped__() is None
    monkeypatch.setattr(jpeg_turbo, "_library", lambda: None)
    assert exchange_rows(FILES["420"], {}) is None


def test_a_library_that_refuses_changes_nothing(monkeypatch):
    before, change = change_of(FILES["420"])
    monkeypatch.setattr(jpeg_turbo, "_library", lambda: None)
    wanted = splice(before, change)
    freed = []
    library = types.SimpleNamespace(
        tjInitTransform=lambda: 7, tjTransform=lambda *_: -1, tjDestroy=freed.append, tjFree=freed.append
    )
    monkeypatch.setattr(jpeg_turbo, "_library", lambda: library)
    assert splice(before, change) == wanted
    assert freed.count(7) == 2  # the handles of the sheet and of the file
    assert len(freed) == 4
