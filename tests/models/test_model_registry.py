from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import anon_batch
from anon_batch.errors import UnknownNameError
from anon_batch.models.registry import MODELS, model_entry


@pytest.mark.parametrize("entry", MODELS.values(), ids=lambda entry: entry.name)
def test_every_entry_pins_what_it_needs(entry):
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.size_bytes > 0
    if entry.url:
        assert entry.url.startswith("https://")
        assert entry.url.endswith(f"/{entry.filename}")
    else:
        assert entry.package == f"anon_batch:models/bundled/{entry.filename}"
    assert entry.filename.endswith((".onnx", ".safetensors", ".dat")), (
        "weights are never pickles; .dat is dlib's own format"
    )
    assert entry.licence in {"MIT", "Apache-2.0", "CC0-1.0"}
    assert entry.trained_on


def test_filenames_are_unique_because_cache_and_mirror_go_by_them():
    assert len({entry.filename for entry in MODELS.values()}) == len(MODELS)


def test_the_registry_is_read_only():
    with pytest.raises(TypeError):
        MODELS["centerface"] = MODELS["yunet"]


def test_an_unknown_model_names_the_nearest_and_all():
    with pytest.raises(UnknownNameError, match=r"'centreface'.*mean 'centerface'.*yunet_n"):
        model_entry("centreface")


@pytest.mark.parametrize("name", sorted(name for name, entry in MODELS.items() if not entry.url))
def test_a_bundled_file_is_the_pinned_one(name):
    entry = model_entry(name)
    data = (Path(anon_batch.__file__).parent / "models" / "bundled" / entry.filename).read_bytes()
    assert len(data) == entry.size_bytes
    assert hashlib.sha256(data).hexdigest() == entry.sha256
