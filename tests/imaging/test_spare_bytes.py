"""Bytes inside a WebP's image that no pixel needs: found, and never published."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from anon_batch.imaging.encode import encode_clean
from anon_batch.imaging.metadata.spare_bytes import has_spare_bytes
from anon_batch.imaging.metadata.strip import join_webp, webp_chunks
from anon_batch.imaging.source import SourceImage

SECRET = b"JFIF hidden face " * 8
SIZE = (64, 96)  # width, height


def image(mode="RGB"):
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (12, 8, len(mode)), np.uint8)
    return Image.fromarray(coarse, mode).resize(SIZE, Image.Resampling.BICUBIC)


def webp(mode="RGB", **options):
    out = io.BytesIO()
    image(mode).save(out, "WEBP", **options)
    return out.getvalue()


def chunks(data):
    return dict(webp_chunks(data))


def lowered(data):
    """A lossy WebP whose header shows the upper half of its rows."""
    parts = chunks(data)
    body = parts[b"VP8 "]
    parts[b"VP8 "] = body[:8] + (SIZE[1] // 2).to_bytes(2, "little") + body[10:]
    return join_webp(parts)


def padded(data, name):
    parts = chunks(data)
    return join_webp({**parts, name: parts[name] + SECRET})


def padded_first_partition(data):
    parts = chunks(data)
    body = parts[b"VP8 "]
    tag = int.from_bytes(body[:3], "little")
    stop = 10 + (tag >> 5)
    tag += len(SECRET) << 5
    return join_webp({**parts, b"VP8 ": tag.to_bytes(3, "little") + body[3:stop] + SECRET + body[stop:]})


OPTIONS = [
    {"quality": 5},
    {"quality": 60},
    {"quality": 95, "method": 0},
    {"quality": 100, "method": 6},
    {"lossless": True},
    {"lossless": True, "method": 0},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_ordinary_webp_has_none(mode, options):
    assert not has_spare_bytes(webp(mode, **options))


HIDING = {
    "rows below a lowered height": lambda: lowered(webp(quality=90)),
    "behind a lossy image": lambda: padded(webp(quality=90), b"VP8 "),
    "behind a lossless image": lambda: padded(webp(lossless=True), b"VP8L"),
    "behind alpha": lambda: padded(webp("RGBA", quality=90), b"ALPH"),
    "behind the first partition": lambda: padded_first_partition(webp(quality=90)),
}


@pytest.mark.parametrize("make", HIDING.values(), ids=HIDING)
def test_spare_bytes_are_found_and_not_published(make):
    data = make()
    assert has_spare_bytes(data)
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    published = encode_clean(SourceImage.open("x.webp", data)).data
    assert b"hidden face" not in published
    assert not has_spare_bytes(published)
    again = np.asarray(Image.open(io.BytesIO(published)).convert("RGB"), np.float32)
    assert again.shape == shown.shape
    if b"ALPH" not in data:  # transparent pixels show other colours than those below
        assert np.abs(again - shown).mean() < 4


def test_an_ordinary_webp_keeps_its_coded_bytes():
    data = webp(quality=70)
    published = encode_clean(SourceImage.open("x.webp", data)).data
    assert chunks(published)[b"VP8 "] == chunks(data)[b"VP8 "]
