"""The decoder of nvImageCodec, with a module of its shape in its place and, where it is installed, with the package itself."""

from __future__ import annotations

import builtins
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from anon_batch.config import LimitsConfig
from anon_batch.errors import ConfigError, FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.downscaled import decode_reduced
from anon_batch.imaging.jpeg import nvimgcodec as device_jpeg
from anon_batch.imaging.jpeg.nvimgcodec import DeviceJpegDecoder, agrees
from anon_batch.imaging.metadata.orientation import orientation_exif


def scene(width=403, height=301, seed=1):
    noise = np.random.default_rng(seed).integers(0, 256, (max(1, height // 32), max(1, width // 32), 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def eighth_of(data):
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, "RGB", min_width=-(-width // 8), min_height=-(-height // 8))


class FakeCodec:
    """A module like nvimgcodec; `answer` makes pixels of bytes."""

    HW_GPU_ONLY, GPU_ONLY, HYBRID_CPU_GPU, CPU_ONLY = "hw", "gpu", "hybrid", "cpu"
    NVIMGCODEC_DEVICE_CURRENT, NVIMGCODEC_DEVICE_CPU_ONLY = -1, -99999
    ColorSpec = SimpleNamespace(SRGB="srgb")
    Backend = staticmethod(str)
    CodeStream = staticmethod(bytes)

    def __init__(self, answer=lambda data: simplejpeg.decode_jpeg(data, "RGB")):
        self.answer = answer
        self.decoders = []
        self.users = []

    def Decoder(self, **options):  # noqa: N802  the package's name
        self.decoders.append(options)
        made_in = threading.get_ident()

        def decode(stream, params):
            assert params == {"apply_exif_orientation": False, "color_spec": "srgb"}
            self.users.append((made_in, threading.get_ident()))
            pixels = self.answer(stream)
            return None if pixels is None else SimpleNamespace(cpu=lambda: pixels)

        return SimpleNamespace(decode=decode)

    def DecodeParams(self, **params):  # noqa: N802
        return params


@pytest.fixture
def fake(monkeypatch):
    codec = FakeCodec()
    monkeypatch.setattr(device_jpeg, "import_nvimgcodec", lambda: codec)
    return codec


def test_it_gives_what_the_codec_gives(fake):
    data = encoded(scene())
    np.testing.assert_array_equal(DeviceJpegDecoder().decode(data), simplejpeg.decode_jpeg(data, "RGB"))
    [options] = fake.decoders
    assert options["device_id"] == fake.NVIMGCODEC_DEVICE_CURRENT
    assert "cpu" not in options["backends"], "the codec's own CPU decoder is none to fall back on"


def test_every_thread_has_a_decoder_of_its_own(fake):
    decoder, data, together = DeviceJpegDecoder(), encoded(scene()), threading.Barrier(4, timeout=30)

    def work(_):
        together.wait()
        return [decoder.decode(data).sum() for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        sums = {total for part in pool.map(work, range(4)) for total in part}
    assert len(sums) == 1
    assert len(fake.decoders) == 5
    assert all(made_in == used_in for made_in, used_in in fake.users)


def test_a_codec_that_declines_or_raises_gives_none(fake):
    decoder = DeviceJpegDecoder()

    def broken(_):
        raise RuntimeError("CUDA")

    for fake.answer in (lambda _: None, broken):
        assert decoder.decode(encoded(scene())) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: None, "declines"),
        (lambda _: np.zeros((3, 64, 64)), r"\(3, 64, 64\)"),
        (lambda _: 1 / 0, "ZeroDivision"),
    ],
)
def test_a_codec_that_cannot_decode_a_plain_jpeg_is_refused_at_once(fake, answer, why):
    fake.answer = answer
    with pytest.raises(ConfigError, match=rf"detect\.jpeg_decoder: .*{why}.*anon-batch\[nvimgcodec\]"):
        DeviceJpegDecoder()


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "nvidia":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"anon-batch\[nvimgcodec\]"):
        DeviceJpegDecoder()


@pytest.mark.parametrize("size", [(403, 301), (8, 8), (71, 200), (200, 17)])
@pytest.mark.parametrize("options", [{"subsampling": s, "quality": q} for s in (0, 1, 2) for q in (20, 95)])
@pytest.mark.parametrize("fast", [False, True])
def test_a_picture_agrees_with_its_own_eighth(size, options, fast):
    data = encoded(scene(*size), **options)
    assert agrees(simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast), eighth_of(data))


def grey_half(pixels):
    pixels[len(pixels) // 2 :] = 128
    return pixels


def grey_face(pixels):
    pixels[64:128, 64:128] = 128
    return pixels


WRONG = {
    "grey half": grey_half,
    "grey 64 px": grey_face,
    "BGR": lambda p: p[..., ::-1],
    "upside down": lambda p: p[::-1],
    "YCbCr": lambda p: cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb),
    "black": np.zeros_like,
    "darker": lambda p: (p * 0.8).astype(np.uint8),
    "shifted": lambda p: np.roll(p, 16, axis=1),
    "without colour": lambda p: np.repeat(p[..., 1:2], 3, axis=2),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_picture_does_not(change):
    data = encoded(scene())
    assert not agrees(change(simplejpeg.decode_jpeg(data, "RGB")), eighth_of(data))


@pytest.mark.parametrize("change", [(24, 0, 0), (-24, 0, 0), (0, 30, 0), (0, 0, -30)])
def test_brightness_and_each_colour_count_alone(change):
    pale = (scene() // 3 + 80).astype(np.uint8)  # far from what would be clipped
    data = encoded(pale)
    ycc = cv2.cvtColor(simplejpeg.decode_jpeg(data, "RGB"), cv2.COLOR_RGB2YCrCb).astype(int)
    ycc[100:180, 100:180] += change
    assert not agrees(cv2.cvtColor(ycc.astype(np.uint8), cv2.COLOR_YCrCb2RGB), eighth_of(data))


@pytest.fixture(scope="module")
def real():
    pytest.importorskip("nvidia.nvimgcodec", reason="the extra `nvimgcodec` is not installed")
    return DeviceJpegDecoder(on_gpu=False)


@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"restart_marker_blocks": 5}]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_package_shows_what_decode_gives(real, options, orientation):
    data = encoded(scene(), exif=b"Exif\0\0" + orientation_exif(orientation), **options)
    seen, whole = decode_reduced("a", data, LimitsConfig(), None, None, real), decode("a", data, LimitsConfig())
    assert seen.reduced_from == (whole.width, whole.height)
    assert seen.pixels.shape == whole.pixels.shape
    assert np.abs(seen.pixels.astype(int) - whole.pixels).max() <= 4


def test_threads_share_the_package(real):
    data = [encoded(scene(seed=seed)) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(real.decode, data))
    for own, pixels in zip(data, found, strict=True):
        assert np.abs(pixels.astype(int) - simplejpeg.decode_jpeg(own, "RGB")).max() <= 4


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", encoded(scene())[:300], b"GIF89a"])
def test_the_package_declines_what_is_no_picture(real, data):
    assert real.decode(data) is None


@pytest.mark.parametrize("at", [0.3, 0.7, 0.99])
def test_a_file_that_ends_early_fails_beside_the_package_too(real, at):
    data = encoded(scene())
    with pytest.raises(FailedError, match="truncated"):
        decode_reduced("a", data[: int(len(data) * at)] + b"\xff\xd9", LimitsConfig(), None, None, real)


@pytest.mark.gpu
def test_the_gpu_shows_what_decode_gives():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("nvidia.nvimgcodec", reason="the extra `nvimgcodec` is not installed")
    decoder = DeviceJpegDecoder()
    data = [encoded(scene(1603, 1201, seed), subsampling=seed % 3) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda own: decode_reduced("a", own, LimitsConfig(), None, None, decoder), data))
    for own, seen in zip(data, found, strict=True):
        whole = decode("a", own, LimitsConfig())
        assert seen.reduced_from == (1603, 1201), "the GPU's picture was not used"
        assert np.abs(seen.pixels.astype(int) - whole.pixels).mean() < 1
        assert np.abs(seen.pixels.astype(int) - whole.pixels).max() <= 32
