from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import DetectConfig, JobConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.precision import centerface_model
from anon_batch.errors import ConfigError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.pipeline.preflight import preflight
from anon_batch.records import Preview
from anon_batch.storage import Storage


@pytest.mark.parametrize(
    ("backend", "precision", "device", "model"),
    [
        ("auto", "auto", "cpu", "centerface_int8"),
        ("onnxruntime", "auto", "cpu", "centerface_int8"),
        ("onnxruntime", "fp32", "cpu", "centerface"),
        ("auto", "int8", "cpu", "centerface_int8"),
        ("auto", "auto", "cuda:1", "centerface"),
        ("torch", "auto", "cpu", "centerface"),
        ("openvino", "auto", "cpu", "centerface"),
    ],
)
def test_the_model_follows_the_job(backend, precision, device, model):
    assert centerface_model(DetectConfig(backend=backend, precision=precision), device) == model


@pytest.mark.parametrize(("backend", "device"), [("torch", "cpu"), ("openvino", "cpu"), ("auto", "cuda")])
def test_int8_on_other_backends_is_refused(backend, device):
    with pytest.raises(ConfigError, match=r"detect\.precision: int8 runs on onnxruntime.*use fp32 or auto"):
        centerface_model(DetectConfig(backend=backend, precision="int8"), device)


@pytest.mark.parametrize(("num_gpus", "model"), [(0, "centerface_int8"), (1, "centerface")])
def test_preflight_names_the_model_that_the_workers_use(num_gpus, model):
    job = JobConfig(manifest="m", output="o", anonymize={"face": {"method": "solid"}}, engine={"num_gpus": num_gpus})
    names = {name.split("@")[0] for name in preflight(job)}
    assert {name for name in names if name.startswith("centerface")} == {model}


def test_int8_finds_the_same_face_as_fp32(tmp_path):
    from skimage.data import astronaut

    image = Preview("astronaut", astronaut())
    store = ModelStore(Storage(), ModelsConfig(cache=str(tmp_path)))
    fp32, int8 = (
        build_detector(DetectConfig(precision=precision), Runtime(store)).detect([image])[0]
        for precision in ("fp32", "int8")
    )
    assert len(fp32) == len(int8) == 1
    assert pairwise_iou(fp32.boxes, int8.boxes)[0, 0] > 0.9
    assert not np.array_equal(fp32.boxes, int8.boxes), "the same network twice"
    assert abs(float(fp32.scores[0] - int8.scores[0])) < 0.05
