"""encode: every mode comes back as it was outside the treated pixels, and the files are clean."""

import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, features

from anon_batch.errors import WithheldError
from anon_batch.imaging import encode as encode_module
from anon_batch.imaging.decode import decode
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.jpeg.markers import read_jpeg_header
from anon_batch.imaging.merge_pixels import merge_native
from anon_batch.imaging.metadata.strip import inspect, strip
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage


def picture(mode="RGB", size=(43, 29)):
    samples = np.random.default_rng(4).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(samples).resize(size, Image.Resampling.BICUBIC).convert(mode)


def with_alpha(mode):
    image = picture("RGBA")
    alpha = np.tile(np.linspace(1, 255, image.width).astype(np.uint8), (image.height, 1))
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def wide(channels):
    coarse = np.random.default_rng(6).integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    samples = cv2.resize(coarse, (43, 29), interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(".png" if channels == 4 else ".tiff", samples)[1].tobytes()


def read(data):
    return decode("a", data)


def encode_as_clean(data, *output):
    return encode_clean(SourceImage.open("a", data), *output)


def treated(image, colour=(250, 10, 60)):
    touched = np.zeros((image.height, image.width), np.bool_)
    touched[8:20, 10:27] = True
    pixels = image.pixels.copy()
    pixels[touched] = colour
    return AnonymizedImage(pixels, touched, {0: "solid"})


LOSSLESS = {
    **{f"PNG {m}": file(picture(m), "PNG") for m in ("RGB", "L", "P", "1")},
    **{f"PNG {m}": file(with_alpha(m), "PNG") for m in ("LA", "RGBA")},
    **{f"TIFF {m}": file(picture(m), "TIFF") for m in ("RGB", "L", "P", "1", "CMYK")},
    **{f"TIFF {m}": file(with_alpha(m), "TIFF") for m in ("LA", "RGBA")},
    **{f"BMP {m}": file(picture(m), "BMP") for m in ("RGB", "L", "P", "1")},
    "GIF P": file(picture("P"), "GIF"),
    "GIF L": file(picture("L"), "GIF"),
    "WEBP lossless": file(picture(), "WEBP", lossless=True),
    "WEBP lossless RGBA": file(with_alpha("RGBA"), "WEBP", lossless=True),
    "PNG I;16": file(Image.fromarray(np.arange(29 * 43, dtype=np.uint16).reshape(29, 43) * 50), "PNG"),
    "TIFF I;16": file(Image.fromarray(np.arange(29 * 43, dtype=np.uint16).reshape(29, 43) * 50), "TIFF"),
    "PNG RGBA;16": wide(4),
    "TIFF RGB;16": wide(3),
}
LOSSY = {
    "JPEG": file(picture(), "JPEG"),
    "JPEG grey": file(picture("L"), "JPEG"),
    "JPEG cmyk": file(picture("CMYK"), "JPEG"),
    "WEBP": file(picture(), "WEBP"),
    "WEBP alpha": file(with_alpha("RGBA"), "WEBP"),
    **({"AVIF": file(picture(), "AVIF")} if features.check("avif") else {}),
}


def samples(image):
    """What can be compared across files: colours instead of palette indices."""
    return image.pixels if image.native is None or image.native_mode == "P" else image.native


@pytest.mark.parametrize("name", LOSSLESS)
def test_clean_lossless_pictures_come_back_exactly(name):
    before = read(LOSSLESS[name])
    out = encode_as_clean(LOSSLESS[name])
    after = read(out.data)
    assert (out.format, out.width, out.height) == (before.format, 43, 29)
    assert inspect(out.data) == []
    assert after.native_mode == before.native_mode
    np.testing.assert_array_equal(samples(after), samples(before))


@pytest.mark.parametrize("name", LOSSLESS)
def test_treated_lossless_pictures_change_only_where_they_were_touched(name):
    before = read(LOSSLESS[name])
    change = treated(before)
    out = encode_anonymized(before, change)
    after = read(out.data)
    assert out.format == before.format
    assert after.native_mode == before.native_mode
    outside, inside = ~change.touched, change.touched
    np.testing.assert_array_equal(samples(after)[outside], samples(before)[outside])
    one = np.unique(after.pixels[inside], axis=0)
    assert len(one) == 1, "a solid colour must stay one colour in every mode"
    exact = before.native_mode in ("RGB", "RGBA", "RGB;16", "RGBA;16", "CMYK")
    if exact:
        assert one[0].tolist() == [250, 10, 60]
    elif before.native_mode in ("L", "LA", "I;16"):
        assert one[0].tolist() == [87, 87, 87]  # 0.299 * 250 + 0.587 * 10 + 0.114 * 60


@pytest.mark.parametrize("name", LOSSY)
def test_treated_lossy_pictures_stay_near_and_lose_the_region(name):
    before = read(LOSSY[name])
    change = treated(before)
    out = encode_anonymized(before, change)
    after = read(out.data)
    assert out.format == before.format
    assert after.native_mode == before.native_mode
    far = np.abs(after.pixels.astype(int) - before.pixels.astype(int))[~change.touched]
    assert far.mean() < 8
    wanted = 87 if before.native_mode == "L" else np.asarray([250, 10, 60])
    inner = after.pixels[10:18, 12:25].astype(int)
    assert np.abs(inner - wanted).mean() < 12


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
def test_every_source_becomes_every_output_format(name, target):
    data = {**LOSSLESS, **LOSSY}[name]
    before = read(data)
    for out in (encode_as_clean(data, target), encode_anonymized(before, treated(before), target)):
        assert out.format == target.upper()
        assert inspect(out.data) == []
        after = read(out.data)
        assert (after.width, after.height) == (43, 29)
    seen = read(encode_as_clean(data, target).data).pixels.astype(int)
    assert np.abs(seen - before.pixels).mean() < 14  # chroma at half the resolution, and a dithered palette


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_clean_pictures_are_only_stripped(kind):
    data = file(picture(), kind)
    assert encode_as_clean(data).data == strip(data, kind)
    assert encode_as_clean(data, kind.lower()).data == strip(data, kind)


def test_quality_sets_lossy_files_and_leaves_lossless_ones():
    jpeg = file(picture(), "JPEG", quality=95)
    low, high = (encode_as_clean(jpeg, "keep", quality).data for quality in (10, 95))
    assert len(low) < len(high)
    png = file(picture(), "PNG")
    assert encode_as_clean(png, "keep", 10).data == strip(png, "PNG")
    webp = file(picture(), "WEBP", lossless=True)
    assert encode_as_clean(webp, "keep", 10).data == strip(webp, "WEBP")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_plain_encoding_keeps_tables_and_sampling(subsampling, monkeypatch):
    def refuse(*_):
        raise encode_module.SpliceError("not here")

    monkeypatch.setattr(encode_module, "splice", refuse)
    before = read(file(picture(), "JPEG", quality=71, subsampling=subsampling))
    out = encode_anonymized(before, treated(before))
    old, new = read_jpeg_header(before.source), read_jpeg_header(out.data)
    assert new.tables == old.tables
    assert [c[1:3] for c in new.components] == [c[1:3] for c in old.components]


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_through_all_ways_of_writing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = file(picture(), "JPEG", exif=exif, quality=95, subsampling=0)
    before = read(data)
    change = treated(before)
    for output, tag in (((), value), (("keep", 95), 1), (("png",), 1)):
        for out in (encode_as_clean(data, *output), encode_anonymized(before, change, *output)):
            after = read(out.data)
            assert after.orientation == tag
            assert (out.width, out.height) == (before.width, before.height) == (after.width, after.height)
            assert np.abs(after.pixels.astype(int) - before.pixels)[~change.touched].mean() < 4


def test_colours_under_full_transparency_are_not_published():
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., :3] = np.random.default_rng(0).integers(1, 256, (16, 16, 3))
    rgba[:8, :, 3] = 255
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        out = encode_as_clean(file(Image.fromarray(rgba), kind, **options))
        after = np.asarray(Image.open(io.BytesIO(out.data)).convert("RGBA"))
        assert not after[8:].any()
        np.testing.assert_array_equal(after[:8], rgba[:8])


def test_transparent_palette_entries_become_one():
    image = Image.new("P", (4, 1))
    image.putpalette([10, 10, 10, 200, 0, 0, 0, 200, 0])
    image.putdata([0, 1, 2, 1])
    out = encode_as_clean(file(image, "PNG", transparency=b"\xff\0\0"))
    after = Image.open(io.BytesIO(out.data))
    assert len({after.getpixel((x, 0)) for x in (1, 2, 3)}) == 1


def test_touched_pixels_become_opaque():
    before = read(file(with_alpha("RGBA"), "PNG"))
    change = treated(before)
    merged = merge_native(before, change)
    assert (merged[change.touched][:, 3] == 255).all()
    np.testing.assert_array_equal(merged[~change.touched], before.native[~change.touched])


def test_only_touched_pixels_are_taken_from_the_treated_picture():
    for data in (LOSSLESS["PNG RGB"], LOSSY["JPEG"]):
        before = read(data)
        change = treated(before)
        noisy = np.where(change.touched[..., None], change.pixels, 255 - change.pixels)
        forged = AnonymizedImage(noisy, change.touched, {0: "solid"})
        assert encode_anonymized(before, forged).data == encode_anonymized(before, change).data


def test_failures_withhold():
    before = read(LOSSLESS["PNG RGB"])
    wrong = AnonymizedImage(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5), np.bool_), {})
    with pytest.raises(WithheldError, match="encode"):
        encode_anonymized(before, wrong)
    tall = file(Image.new("RGB", (1, 17000)), "PNG")
    with pytest.raises(WithheldError, match="encode"):
        encode_as_clean(tall, "webp")  # WebP ends at 16383 px


def test_what_inspection_finds_is_withheld(monkeypatch):
    monkeypatch.setattr(encode_module, "write_image", lambda *_: file(picture(), "JPEG", comment=b"secret"))
    before = read(LOSSLESS["PNG RGB"])
    with pytest.raises(WithheldError, match="metadata"):
        encode_anonymized(before, treated(before), "jpeg")


def test_threads_share_encoding():
    images = [read(data) for data in [*LOSSY.values(), *LOSSLESS.values()]]
    wanted = [encode_anonymized(i, treated(i)).data for i in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            got = pool.map(lambda i: encode_anonymized(i, treated(i)).data, images)
            assert list(got) == wanted
