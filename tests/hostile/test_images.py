"""Hostile image files: each fails with a reason or is written clean, in little time and memory."""

from __future__ import annotations

import collections
import io
import time
import warnings

import cv2
import numpy as np
import pytest
from hostile_files import CANARY, HostileImage, image_corpus
from hostile_files.second_images import overwritten_scan
from memory import MIB, peak_bytes, reset_peak
from PIL import Image

from anon_batch.errors import FailedError, RowError
from anon_batch.imaging import pillow
from anon_batch.imaging.encode import encode_anonymized, encode_clean
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.source import SourceImage
from anon_batch.memory import is_out_of_memory
from anon_batch.reasons import REASONS
from anon_batch.records import AnonymizedImage

MAX_PIXELS = 30_000_000
MOST_BYTES = 500 * MIB  # 16 bytes a pixel
MOST_S = 20


@pytest.fixture(scope="module")
def corpus() -> list[HostileImage]:
    return list(image_corpus())


def _outputs(data: bytes) -> list[bytes]:
    """Return the file stripped, and with a quarter of it anonymized."""
    source = SourceImage.open("a", data, max_pixels=MAX_PIXELS, max_bytes=2**28)
    source.preview(1536)
    clean = encode_clean(source)
    image = source.decode()
    touched = np.zeros(image.pixels.shape[:2], np.bool_)
    touched[: -(-image.height // 2), : -(-image.width // 2)] = True
    pixels = np.where(touched[..., None], np.uint8(0), image.pixels)
    return [clean.data, encode_anonymized(image, AnonymizedImage(pixels, touched, {})).data]


def _faults(file: HostileImage) -> list[str]:
    """Return what is wrong with the answer to a file."""
    base, begin = reset_peak(), time.monotonic()
    reason, outputs = "", list[bytes]()
    try:
        outputs = _outputs(file.data)
    except RowError as exc:
        reason = exc.reason
    found = [f"{reason or 'an output'}, not {set(file.reasons)}"] if file.reasons and reason not in file.reasons else []
    if reason and reason not in REASONS:
        found.append(f"reason {reason!r}")
    if (grown := peak_bytes() - base) > MOST_BYTES:
        found.append(f"{grown / MIB:.0f} MiB")
    if (spent := time.monotonic() - begin) > MOST_S:
        found.append(f"{spent:.1f} s")
    for data in outputs:
        found += inspect(data)
        if CANARY in data:
            found.append("hidden bytes in the output")
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if other is not None and other.shape[1::-1] != image.size:
                found.append(f"{other.shape} and {image.size}")
    return found


def test_each_fails_with_a_reason_or_is_written_clean(corpus: list[HostileImage]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # because warnings of a file would fill the logs
        assert {file.name: faults for file in corpus if (faults := _faults(file))} == {}


def test_the_corpus_is_the_same_each_time_and_has_every_kind(corpus: list[HostileImage]) -> None:
    groups = collections.Counter(file.group for file in corpus)
    assert len({file.name for file in corpus}) == len(corpus) == 827
    assert groups["truncated"] == 306
    assert min(groups.values()) >= 5
    again = image_corpus()
    assert all(next(again) == file for file in corpus[:100])


def test_a_scan_that_another_one_replaces_is_not_published() -> None:
    data = overwritten_scan(640, 480)
    first = data[data.index(b"\xff\xda") + 10 :][:400]
    source = SourceImage.open("a", data)
    source.preview(100)  # which decodes a fraction of other JPEGs, and leaves their bytes as they are
    out = encode_clean(source)
    assert first not in out.data
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(cv2.imdecode(np.frombuffer(out.data, np.uint8), cv2.IMREAD_COLOR), shown, atol=1)


def test_a_lack_of_memory_does_not_condemn_the_file() -> None:
    error = pillow.classify_error("PNG", MemoryError())
    assert (error.status, error.reason) == ("withheld", "out_of_memory")
    assert pillow.classify_error("PNG", OSError("image file is truncated")).reason == "truncated"
    assert not is_out_of_memory(FailedError("decode"))
