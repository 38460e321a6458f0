"""The job file: every key documented and checked; errors name the key and never show a secret."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anon_batch.config import JobConfig, StorageConfig, describe, load_job, parse_override
from anon_batch.config.detect import DetectConfig
from anon_batch.errors import ConfigError

NEEDED = {"manifest": "m.parquet", "output": "out"}


def _load(**keys: Any) -> JobConfig:
    return load_job(None, {**NEEDED, **{key.replace("__", "."): value for key, value in keys.items()}})


def _refused(**keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(**keys)
    return str(caught.value)


def _file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_key_has_description_type_and_default() -> None:
    keys = list(describe())
    assert len({key for key, *_ in keys}) == len(keys) > 40
    for key, kind, default, text in keys:
        assert text.strip().endswith((".", ")")) or len(text) > 10, key
        assert kind
        assert "<" not in kind
        assert "typing." not in kind, (key, kind)
        assert default == "required" or json.loads(default) is not Ellipsis, key
    required = {key for key, _, default, _ in keys if default == "required"}
    assert required == {"manifest", "output"}


def test_described_defaults_are_the_ones_in_force() -> None:
    config = _load().model_dump(mode="json")
    for key, _, default, _ in describe():
        if default == "required" or key == "detect.detectors":
            continue
        value: Any = config
        for part in key.split("."):
            value = value[part]
        assert value == json.loads(default), key


def test_every_described_key_can_be_set() -> None:
    config = _load().model_dump(mode="json")
    for key, *_ in describe():
        value: Any = config
        for part in key.split("."):
            value = value[part]
        assert load_job(None, {**NEEDED, key: value}), key


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("engine.shardrows", "engine.shard_rows"),
        ("shard_rows", "engine.shard_rows"),
        ("detect.treshold", None),
        ("anonymise.method", "anonymize"),
        ("ouput", "output"),
        ("engine.worker", "engine.workers"),
        ("storage.option", "storage.options"),
        ("detect.detectors.0.treshold", "detect.detectors.0.threshold"),
    ],
)
def test_unknown_keys_name_the_nearest(key: str, nearest: str | None) -> None:
    overrides: dict[str, Any] = {**NEEDED, key: 1}
    if ".0." in key:
        overrides = {**NEEDED, "detect.detectors": [{"name": "yunet", "treshold": 1}]}
    with pytest.raises(ConfigError) as caught:
        load_job(None, overrides)
    assert "unknown key" in str(caught.value)
    if nearest:
        assert f"did you mean `{nearest}`" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "detect.thresold",
            "did you mean `threshold` of an item of `detect.detectors`, e.g. [{name: ..., threshold: ...}]?",
        ),
        ("detect.zzz", "unknown key `detect.zzz`; keys of `detect`: preset, detectors, scale, "),
        ("engine.precision", "; keys of `engine`: "),
        ("zzz", "; known keys: name, manifest, output, "),
        ("anonymize.plate.zzz", "; keys of `anonymize.plate`: method, fallback, "),
    ],
)
def test_unknown_keys_far_from_all_names_list_what_is_there(key: str, said: str) -> None:
    message = _refused(**{key.replace(".", "__"): 1})
    assert said in message
    assert "detect.precision" not in message


def test_a_folder_instead_of_a_job_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"is a folder; .* `anon-batch manifest {tmp_path} -o"):
        load_job(tmp_path, {})


def test_a_removed_key_says_that_it_was_removed() -> None:
    with pytest.raises(ConfigError, match=r"`detect\.jpeg_decoder` was removed, because .*; delete the key"):
        load_job(None, {**NEEDED, "detect.jpeg_decoder": "nvimgcodec"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engine__shard_rows", 0),
        ("engine__shard_rows", 65_537),
        ("engine__attempts", 0),
        ("engine__num_cpus", 0),
        ("engine__num_gpus", -1),
        ("engine__read_ahead", 0),
        ("engine__io_threads", 257),
        ("engine__row_timeout_s", math.inf),
        ("detect__scale", 0),
        ("detect__scale", math.nan),
        ("detect__min_side_px", -1),
        ("detect__merge_iou", 0),
        ("detect__batch_size", 0),
        ("detect__detectors", []),
        ("detect__detectors", 5),
        ("detect__tile__overlap_px", 800),
        ("detect__backend", "cuda"),
        ("anonymize__face__expansion", 0.9),
        ("anonymize__face__expansion", math.nan),
        ("anonymize__default__shape", "circle"),
        ("anonymize__face__min_score", 1.1),
        ("anonymize__plate__min_side_px", -1),
        ("anonymize__options", []),
        ("checks", "structure"),
        ("anonymize__plate__soft_edge", 0.6),
        ("write__layout", "zip"),
        ("write__format", "gif"),
        ("write__quality", 0),
        ("write__quality", 101),
        ("write__quality", "best"),
        ("limits__max_pixels", 0),
        ("storage__sse", "aes"),
        ("storage__sse_kms_key_id", "k"),
        ("storage__sse", "aws:kms"),
        ("storage__retries", -1),
        ("sample__limit", 0),
        ("name", "../x"),
        ("name", ""),
        ("manifest", " "),
        ("output", ""),
        ("output", "/"),
        ("ledger", ""),
        ("ledger", "//"),
        ("storage__options", "text"),
        ("engine", 5),
        ("detect", ["yunet"]),
    ],
)
def test_values_out_of_range_name_their_key(key: str, value: Any) -> None:
    message = _refused(**{key: value})
    assert (
        key.replace("__", ".").removesuffix(".sse_kms_key_id").removesuffix(".sse").removesuffix(".overlap_px")
        in message
    )


KMS = {"ServerSideEncryption": "aws:kms"}
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1"


@pytest.mark.parametrize(
    "storage",
    [
        {"sse": "aws:kms"},
        {"sse": "aws:kms", "sse_kms_key_id": " "},
        {"options": {"s3://b/": {"s3_additional_kwargs": KMS}}},
        {"options": {"s3://b/": {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms:dsse"}}}},
        {
            "sse": "aws:kms",
            "sse_kms_key_id": KEY,
            "options": {"s3://b/": {"s3_additional_kwargs": {"SSEKMSKeyId": None}}},
        },
    ],
)
def test_kms_without_a_key_is_refused_because_s3_would_not_take_the_key_of_the_bucket(storage: dict[str, Any]) -> None:
    message = _refused(storage=storage)
    assert "aws/s3, not by the bucket's key" in message
    assert "storage.sse_kms_key_id" in message
    assert _load(storage={**storage, "sse_use_aws_managed": True}).storage.sse_use_aws_managed


@pytest.mark.parametrize(
    "storage",
    [
        {"sse": "AES256"},
        {"sse": "aws:kms", "sse_kms_key_id": KEY},
        {"options": {"s3://b/": {"s3_additional_kwargs": {**KMS, "SSEKMSKeyId": KEY}}}},
        {
            "sse": "aws:kms",
            "sse_kms_key_id": KEY,
            "options": {"s3://b/": {"s3_additional_kwargs": {"SSEKMSKeyId": "other"}}},
        },
        {"options": {"s3://b/": {"s3_additional_kwargs": {"ACL": "private"}}}},
    ],
)
def test_kms_with_a_key_is_accepted(storage: dict[str, Any]) -> None:
    _load(storage=storage)


def test_several_faults_are_reported_at_once() -> None:
    message = _refused(engine__shard_rows=0, anonymize__face__expansion=9, writ=1)
    assert all(text in message for text in ("engine.shard_rows", "anonymize.face.expansion", "writ"))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("yunet", ["yunet"]),
        (["yunet", "centerface"], ["yunet", "centerface"]),
        ([{"name": "yunet", "threshold": 0.3}, "manifest"], ["yunet", "manifest"]),
    ],
)
def test_detectors_as_text_list_or_mappings(given: Any, names: list[str]) -> None:
    config = _load(detect__detectors=given)
    assert [d.name for d in config.detect.detectors] == names


def test_fallback_as_text_and_the_ladder_without_repetition() -> None:
    def ladder(**keys: Any) -> tuple[str, ...]:
        return _load(**{f"anonymize__face__{key}": value for key, value in keys.items()}).anonymize.face.ladder

    assert ladder(method="pixelate", fallback="solid") == ("pixelate", "solid")
    assert ladder(method="solid", fallback=["solid", "blur"]) == ("solid", "blur")
    assert ladder() == ("gan", "swap", "inpaint", "pixelate", "solid")
    assert ladder(method="swap") == ("swap", "inpaint", "pixelate", "solid")
    assert ladder(method="solid") == ("solid", "pixelate")


@pytest.mark.parametrize(
    "keys",
    [
        {"anonymize__face__expansion": 1.05},
        {"anonymize__face__expansion": 1.05, "anonymize__face__shape": "face"},
        {"anonymize__plate__method": "solid", "anonymize__plate__expansion": 1, "anonymize__plate__shape": "face"},
    ],
)
def test_a_face_mask_that_is_too_small_is_refused_with_the_reason(keys: dict[str, Any]) -> None:
    message = _refused(**keys)
    assert "too small for the shape `face`: expected at least 1.1" in message
    assert "recognised" in message


def test_the_least_expansion_is_that_of_the_shape() -> None:
    assert _load(anonymize__face__expansion=1.1).anonymize.face.expansion == 1.1
    for shape in ("ellipse", "rectangle"):
        assert _load(anonymize__face__expansion=1, anonymize__face__shape=shape).anonymize.face.expansion == 1
    assert _load(anonymize__face__expansion=1, anonymize__face__method="solid").anonymize.face.shape is None


def test_labels_have_their_own_sections() -> None:
    anonymize = _load(anonymize__licence_plate={"shape": "rectangle"}, anonymize__person=None).anonymize
    assert [label for label, _ in anonymize.labels()] == ["face", "licence_plate", "person"]
    labels = dict(anonymize.labels())
    assert labels["licence_plate"].ladder == ("solid", "pixelate")
    assert (labels["licence_plate"].shape, labels["person"].shape) == ("rectangle", None)
    assert anonymize.default.ladder == ("solid", "pixelate")


@pytest.mark.parametrize(
    ("keys", "new"),
    [
        ({"anonymize__method": "solid"}, "`anonymize.method` is now `anonymize.face.method`"),
        ({"anonymize__fallback": None}, "`anonymize.fallback` is now `anonymize.face.fallback`"),
        ({"anonymize__expansion": 2}, "`anonymize.face.expansion`"),
        ({"anonymize__shape": "ellipse"}, "`anonymize.face.shape`"),
        ({"anonymize__soft_edge": 0}, "`anonymize.face.soft_edge`"),
        ({"anonymize__color": [0, 0, 0]}, "`anonymize.options.solid.color`"),
        ({"anonymize__cells": 6}, "`anonymize.options.pixelate.cells`"),
        ({"anonymize__blur_sigma": 0.2}, "`anonymize.options.blur.sigma`"),
        ({"anonymize__min_replaced_score": 0}, "`anonymize.face.min_score`"),
        ({"anonymize__min_generated_px": 8}, "`anonymize.options.gan.min_side_px`"),
        ({"anonymize__cells": 6, "anonymize__method": "blur"}, "`anonymize.method` is now"),
        ({"detect__second_look": True}, "`detect.second_look` is now `detect.refine_small`"),  # words: allow
        ({"detect__min_face_px": 9}, "`detect.min_face_px` is now `detect.min_side_px`"),
    ],
)
def test_old_keys_name_the_new_ones(keys: dict[str, Any], new: str) -> None:
    message = _refused(**keys)
    assert new in message
    assert "`anonymize`: " not in message


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        (
            {"anonymize__metod": "solid"},
            "`anonymize.metod`: expected keys and values; did you mean `anonymize.face.method`?",
        ),
        ({"anonymize__face__metod": "solid"}, "did you mean `anonymize.face.method`?"),
        ({"anonymize__plate__metod": "solid"}, "did you mean `anonymize.plate.method`?"),
        ({"anonymize__plate": "solid"}, "`anonymize.plate`: expected keys and values"),
    ],
)
def test_wrong_keys_of_labels_name_the_nearest(keys: dict[str, Any], hint: str) -> None:
    assert hint in _refused(**keys)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a.b=3", "a.b", 3),
        ("a=[1, x]", "a", [1, "x"]),
        ("a=", "a", None),
        ("a=null", "a", None),
        ("a=true", "a", True),
        (" a =b", "a", "b"),
        ("a={b: {c: 1}}", "a", {"b": {"c": 1}}),
        ("a=b=c", "a", "b=c"),
        ("a='5'", "a", "5"),
        ("output=s3://b/x", "output", "s3://b/x"),
    ],
)
def test_set(text: str, key: str, value: Any) -> None:
    assert parse_override(text) == (key, value)


@pytest.mark.parametrize("text", ["", "nonsense", "=3", "  =3"])
def test_set_without_key_or_value(text: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_override(text)


def test_set_into_a_value_is_refused() -> None:
    assert "not a section" in _refused(name="n", name__x=1)


def test_set_wins_over_the_file_and_reaches_empty_sections(tmp_path: Path) -> None:
    path = _file(tmp_path, "manifest: m\noutput: o\nengine:\n  # shard_rows: 5\nname: a\n")
    assert load_job(path, {}).engine.shard_rows == 512
    config = load_job(path, {"engine.shard_rows": 7, "name": "b"})
    assert (config.engine.shard_rows, config.name) == (7, "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "`manifest` is required"),
        ("# nothing\n", "`output` is required"),
        ("- a\n- b\n", "found list"),
        ("just text", "found str"),
        ("a: [1, 2", "is not YAML"),
        ("a: b: c", "line 1"),
        ("gates: {failed: 1}\nname: b\ngates: {withheld: 1}", "key `gates` appears twice, line 3"),
        ("anonymize: {face: {method: solid}, face: {method: blur}}", "key `face` appears twice, line 1"),
        (b"\xff\xfe\x00", "is not YAML"),
        ("!!python/object:os.system {}", "YAML"),
        ("5", "found int"),
        ("1: x\nmanifest: m\noutput: o", "1"),
        ("a: &a [*a]\nmanifest: m\noutput: o", "unknown key `a`"),
        ("name: &a [*a]\nmanifest: m\noutput: o", "`name`"),
        ("manifest: m\noutput: o\nname: 2024-01-01", "`name`"),
    ],
)
def test_files_that_are_no_job(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_job(path, {})
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            load_job(path, {})


SECRETS = {"s3://b/": {"key": "AKIDSECRET", "secret": "SECRETSECRET"}}


@pytest.mark.parametrize(
    "keys",
    [
        {"storage__options": {"s3://b/": "SECRETSECRET"}},
        {"storage__options": "SECRETSECRET"},
        {"storage__options": ["SECRETSECRET"]},
        {"storage__options": SECRETS, "storage__sse": "wrong"},
        {"storage__options": SECRETS, "storage__retries": -1},
        {"storage": {"options": SECRETS, "sse_kms_key_id": "x"}},
        {"storage": {"options": SECRETS, "unknown": 1}},
        {"storage": [SECRETS]},
        {"storage__optoins": SECRETS},
    ],
)
def test_errors_show_no_secret(keys: dict[str, Any]) -> None:
    assert "SECRET" not in _refused(**keys)


@pytest.mark.parametrize(
    "line", ["secret: SECRETSECRET: x", 'secret: "SECRETSECRET', "secret: [SECRETSECRET", "\tsecret: SECRETSECRET"]
)
def test_a_broken_line_with_a_secret_is_not_shown(tmp_path: Path, line: str) -> None:
    path = _file(tmp_path, f"storage:\n  options:\n    s3://b/:\n      {line}\n")
    with pytest.raises(ConfigError, match=r"line [45]") as caught:
        load_job(path, {})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        parse_override("storage.options={s3://b/: {secret: [SECRETSECRET}")
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        parse_override("={secret: SECRETSECRET}")
    assert "SECRET" not in str(caught.value)


def test_options_are_not_in_the_repr() -> None:
    assert "SECRET" not in repr(_load(storage__options=SECRETS))
    assert StorageConfig(options=SECRETS).options == SECRETS


def test_frozen_and_picklable() -> None:
    config = _load(detect__detectors=["yunet"])
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValidationError):
        config.engine.shard_rows = 5
    with pytest.raises(ValidationError):
        config.name = "x"


@pytest.mark.parametrize(
    ("keys", "output", "ledger"),
    [
        ({}, "out", "out-ledger"),
        ({"output": "s3://b/x/"}, "s3://b/x", "s3://b/x-ledger"),
        ({"sample__limit": 5}, "out-sample-5", "out-sample-5-ledger"),
        ({"sample__limit": 5, "ledger": "s3://p/l/"}, "out-sample-5", "s3://p/l-sample-5"),
    ],
)
def test_places(keys: dict[str, Any], output: str, ledger: str) -> None:
    config = _load(**keys)
    assert (config.output_uri, config.ledger_uri) == (output, ledger)


@pytest.mark.parametrize(
    ("given", "detectors", "refine_small", "rotated"),
    [
        ({}, ["centerface"], True, True),
        ({"preset": "balanced"}, ["centerface"], True, True),
        ({"preset": "fast"}, ["centerface"], False, False),
        ({"preset": "recall"}, ["centerface", "yunet_n"], True, True),
        ({"preset": "recall", "detectors": ["manifest"]}, ["manifest"], True, True),
        ({"preset": "fast", "refine_small": True}, ["centerface"], True, False),
        ({"rotated": False}, ["centerface"], True, False),
    ],
)
def test_a_preset_sets_what_the_job_does_not_name(
    given: dict[str, Any], detectors: list[str], refine_small: bool, rotated: bool
) -> None:
    config = DetectConfig(**given)
    assert [own.name for own in config.detectors] == detectors
    assert (config.refine_small, config.rotated) == (refine_small, rotated)
    assert DetectConfig(**config.model_dump(mode="json")) == config


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValidationError, match="preset"):
        DetectConfig(preset="best")


def test_local_paths_are_absolute_because_workers_have_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = ["photos", "/data", "s3://bucket/photos/", "file:///data"]
    job = _load(sources__allow=sources, models__files={"generator": "mine.safetensors", "donors": "s3://b/d"})
    assert job.sources.allow == (f"{tmp_path}/photos", *sources[1:])
    assert job.models.files == {"generator": f"{tmp_path}/mine.safetensors", "donors": "s3://b/d"}
    job = _load(models__mirror="weights", models__cache="~/weights")
    assert (job.models.mirror, job.models.cache) == (f"{tmp_path}/weights", f"{Path.home()}/weights")
    assert _load(models__mirror="").models.mirror == ""
