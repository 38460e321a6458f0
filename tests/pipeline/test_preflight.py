"""Errors of a job that are found before its first image is processed."""

from __future__ import annotations

import pytest
from pipeline_fixtures import job

from anon_batch.errors import UnknownNameError
from anon_batch.pipeline.preflight import preflight


@pytest.mark.parametrize(
    "keys",
    [
        {"detect__detectors": ["no_such_detector"]},
        {"anonymize__face__method": "no_such_method"},
        {"anonymize__face__fallback": ["no_such_method"]},
        {"anonymize": {"licence_plate": {"method": "no_such_method"}}},
        {"checks": {"no_such_check": {}}},
    ],
)
def test_unknown_names_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError, match="no_such_"):
        preflight(job("memory://unused", **keys))


def test_models_are_named_with_their_digests() -> None:
    assert preflight(job("memory://unused")) == ()
    [model] = preflight(job("memory://unused", detect__detectors=["centerface"]))
    name, _, digest = model.partition("@")
    assert (name, len(digest)) == ("centerface_int8", 64)
