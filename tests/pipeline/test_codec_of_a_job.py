"""`detect.jpeg_decoder`: refused where it cannot be, and used where it is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from pipeline_fixtures import job, picture, process_all, write_dataset

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError
from anon_batch.pipeline import preflight as preflight_module
from anon_batch.pipeline import shard as shard_module
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import PixelArray
from anon_batch.storage import Storage, join

BY_GPU = {"detect__jpeg_decoder": "nvimgcodec"}


class Codec:
    asked = 0

    def decode(self, data: bytes) -> PixelArray | None:
        Codec.asked += 1
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=True), np.uint8)


def _missing() -> None:
    raise ConfigError("not installed")


def test_a_codec_without_a_gpu_is_refused_before_the_first_picture() -> None:
    with pytest.raises(ConfigError, match=r"detect\.jpeg_decoder: nvimgcodec .*engine\.num_gpus"):
        preflight(job("memory://unused", **BY_GPU))


@pytest.mark.parametrize("installed", [True, False])
def test_so_is_one_that_is_not_installed(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "import_nvimgcodec", (lambda: None) if installed else _missing)
    config = job("memory://unused", **BY_GPU, engine__num_gpus=1)
    if installed:
        assert preflight(config) == ()
        return
    with pytest.raises(ConfigError, match="not installed"):
        preflight(config)


def test_a_worker_whose_codec_does_not_work_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "DeviceJpegDecoder", _missing)
    write_dataset(str(tmp_path), ["a.jpg"])
    run, _ = open_run(job(str(tmp_path), **BY_GPU), ())
    with pytest.raises(ConfigError, match="not installed"):
        ShardProcessor(run)


def _images(config: JobConfig) -> dict[str, str]:
    run, _ = open_run(config, ())
    process_all(run)
    storage, folder = Storage(), Path(config.output)
    return {
        str(path.relative_to(folder)): hashlib.sha256(storage.read(str(path))).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


def test_a_release_is_the_same_whoever_decoded_for_the_detectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, ids = str(tmp_path), [f"{index}.jpg" for index in range(6)]
    uris = pa.array([join(base, f"jpegs/{name}") for name in ids])
    for index, uri in enumerate(uris.to_pylist()):
        Storage().put(uri, picture(index, "JPEG"))
    write_dataset(base, ids, uri=uris)
    plain = _images(job(base, "plain"))
    monkeypatch.setattr(shard_module, "DeviceJpegDecoder", Codec)
    assert _images(job(base, "by_gpu", **BY_GPU)) == plain
    assert Codec.asked == len(plain) == 6
