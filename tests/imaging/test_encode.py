"""Encoding keeps every mode outside the anonymized pixels, and the files are clean."""

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
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage


def make_image(mode="RGB", size=(43, 29)):
    samples = np.random.default_rng(4).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(samples).resize(size, Image.Resampling.BICUBIC).convert(mode)


def with_alpha(mode):
    image = make_image("RGBA")
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


def anonymize(image, colour=(250, 10, 60)):
    touched = np.zeros((image.height, image.width), np.bool_)
    touched[8:20, 10:27] = True
    pixels = image.pixels.copy()
    pixels[touched] = colour
    return AnonymizedImage(pixels, touched, {0: "solid"})


LOSSLESS = {
    **{f"PNG {m}": file(make_image(m), "PNG") for m in ("RGB", "L", "P", "1")},
    **{f"PNG {m}": file(with_alpha(m), "PNG") for m in ("LA", "RGBA")},
    **{f"TIFF {m}": file(make_image(m), "TIFF") for m in ("RGB", "L", "P", "1", "CMYK")},
    **{f"TIFF {m}": file(with_alpha(m), "TIFF") for m in ("LA", "RGBA")},
    **{f"BMP {m}": file(make_image(m), "BMP") for m in ("RGB", "L", "P", "1")},
    "GIF P": file(make_image("P"), "GIF"),
    "GIF L": file(make_image("L"), "GIF"),
    "WEBP lossless": file(make_image(), "WEBP", lossless=True),
    "WEBP lossless RGBA": file(with_alpha("RGBA"), "WEBP", lossless=True),
    "PNG I;16": file(Image.fromarray(np.arange(29 * 43, dtype=np.uint16).reshape(29, 43) * 50), "PNG"),
    "TIFF I;16": file(Image.fromarray(np.arange(29 * 43, dtype=np.uint16).reshape(29, 43) * 50), "TIFF"),
    "PNG RGBA;16": wide(4),
    "TIFF RGB;16": wide(3),
}
LOSSY = {
    "JPEG": file(make_image(), "JPEG"),
    "JPEG grey": file(make_image("L"), "JPEG"),
    "JPEG cmyk": file(make_image("CMYK"), "JPEG"),
    "WEBP": file(make_image(), "WEBP"),
    "WEBP alpha": file(with_alpha("RGBA"), "WEBP"),
    **({"AVIF": file(make_image(), "AVIF")} if features.check("avif") else {}),
}


def samples(image):
    """What can be compared across files: colours instead of palette indices."""
    return image.pixels if image.native is None or image.native_mode == "P" else image.native


@pytest.mark.parametrize("name", LOSSLESS)
def test_clean_lossless_images_keep_every_sample(name):
    before = read(LOSSLESS[name])
    out = encode_as_clean(LOSSLESS[name])
    after = read(out.data)
    assert (out.format, out.width, out.height) == (before.format, 43, 29)
    assert inspect(out.data) == []
    assert after.native_mode == before.native_mode
    np.testing.assert_array_equal(samples(after), samples(before))


@pytest.mark.parametrize("name", LOSSLESS)
def test_anonymized_lossless_images_change_only_where_touched(name):
    before = read(LOSSLESS[name])
    change = anonymize(before)
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
def test_anonymized_lossy_images_stay_close_and_lose_the_region(name):
    before = read(LOSSY[name])
    change = anonymize(before)
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
    for out in (encode_as_clean(data, target), encode_anonymized(before, anonymize(before), target)):
        assert out.format == target.upper()
        assert inspect(out.data) == []
        after = read(out.data)
        assert (after.width, after.height) == (43, 29)
    seen = read(encode_as_clean(data, target).data).pixels.astype(int)
    assert np.abs(seen - before.pixels).mean() < 14  # chroma at half the resolution, and a dithered palette


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_clean_images_are_only_stripped(kind):
    data = file(make_image(), kind)
    assert encode_as_clean(data).data == strip(data, kind)
    assert encode_as_clean(data, kind.lower()).data == strip(data, kind)


def test_quality_changes_lossy_files_only():
    jpeg = file(make_image(), "JPEG", quality=95)
    low, high = (encode_as_clean(jpeg, "keep", quality).data for quality in (10, 95))
    assert len(low) < len(high)
    png = file(make_image(), "PNG")
    assert encode_as_clean(png, "keep", 10).data == strip(png, "PNG")
    webp = file(make_image(), "WEBP", lossless=True)
    assert encode_as_clean(webp, "keep", 10).data == strip(webp, "WEBP")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_encoding_without_a_splice_keeps_tables_and_sampling(subsampling, monkeypatch):
    def refuse(*_):
        raise encode_module.SpliceError("not here")

    monkeypatch.setattr(encode_module, "splice", refuse)
    before = read(file(make_image(), "JPEG", quality=71, subsampling=subsampling))
    out = encode_anonymized(before, anonymize(before))
    old, new = read_jpeg_header(before.source), read_jpeg_header(out.data)
    assert new.tables == old.tables
    assert [c[1:3] for c in new.components] == [c[1:3] for c in old.components]


@pytest.mark.parametrize("value", range(1, 9))
def test_every_encoding_keeps_the_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = file(make_image(), "JPEG", exif=exif, quality=95, subsampling=0)
    before = read(data)
    change = anonymize(before)
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


def test_transparent_palette_entries_are_merged():
    image = Image.new("P", (4, 1))
    image.putpalette([10, 10, 10, 200, 0, 0, 0, 200, 0])
    image.putdata([0, 1, 2, 1])
    out = encode_as_clean(file(image, "PNG", transparency=b"\xff\0\0"))
    after = Image.open(io.BytesIO(out.data))
    assert len({after.getpixel((x, 0)) for x in (1, 2, 3)}) == 1


def test_touched_pixels_become_opaque():
    before = read(file(with_alpha("RGBA"), "PNG"))
    change = anonymize(before)
    merged = merge_native(before, change)
    assert (merged[change.touched][:, 3] == 255).all()
    np.testing.assert_array_equal(merged[~change.touched], before.native[~change.touched])


def test_only_touched_pixels_of_the_anonymized_image_are_used():
    for data in (LOSSLESS["PNG RGB"], LOSSY["JPEG"]):
        before = read(data)
        change = anonymize(before)
        noisy = np.where(change.touched[..., None], change.pixels, 255 - change.pixels)
        forged = AnonymizedImage(noisy, change.touched, {0: "solid"})
        assert encode_anonymized(before, forged).data == encode_anonymized(before, change).data


def test_encoding_errors_withhold_the_image():
    before = read(LOSSLESS["PNG RGB"])
    wrong = AnonymizedImage(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5), np.bool_), {})
    with pytest.raises(WithheldError, match="encode"):
        encode_anonymized(before, wrong)
    tall = file(Image.new("RGB", (1, 17000)), "PNG")
    with pytest.raises(WithheldError, match="encode"):
        encode_as_clean(tall, "webp")  # WebP ends at 16383 px


def test_an_output_with_metadata_is_withheld(monkeypatch):
    monkeypatch.setattr(encode_module, "write_image", lambda *_: file(make_image(), "JPEG", comment=b"secret"))
    before = read(LOSSLESS["PNG RGB"])
    with pytest.raises(WithheldError, match="metadata"):
        encode_anonymized(before, anonymize(before), "jpeg")


def test_threads_can_encode_at_the_same_time():
    images = [read(data) for data in [*LOSSY.values(), *LOSSLESS.values()]]
    wanted = [encode_anonymized(i, anonymize(i)).data for i in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            got = pool.map(lambda i: encode_anonymized(i, anonymize(i)).data, images)
            assert list(got) == wanted
