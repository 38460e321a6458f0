"""Folders of photographs and model weights that do not come with the repository, named by two environment variables.

    ANON_BATCH_TEST_DATA     folder with photos/, pairs/, faces/ and plates/
    ANON_BATCH_TEST_MODELS   folder with weights; by default `models` below ANON_BATCH_TEST_DATA or beside it

Tests that need them are skipped where they are missing, and fail instead with `--require-data` or `--require-weights`; those that
need a program, with `--require-tools`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

DATA_VARIABLE = "ANON_BATCH_TEST_DATA"
MODELS_VARIABLE = "ANON_BATCH_TEST_MODELS"
NO_DATA = "data: "
NO_WEIGHTS = "weights: "
NO_GPU = "gpu: "
NO_TOOL = "tools: "

_NOWHERE = Path(os.devnull)


def _root() -> Path:
    value = os.environ.get(DATA_VARIABLE)
    return Path(value).absolute() if value else _NOWHERE


def _models() -> Path:
    value = os.environ.get(MODELS_VARIABLE)
    choices = [Path(value).absolute()] if value else [_root() / "models", _root().parent / "models"]
    return next((path for path in choices if path.is_dir()), _NOWHERE)


PHOTOS = _root() / "photos"  # images/ and boxes.json
PAIRS = _root() / "pairs"  # images/ and pairs.csv
FACES = _root() / "faces"
KUBERAY = _root() / "kuberay"  # rayjobs-crd-1.7.0.yaml.gz: ray-operator/config/crd/bases/ray.io_rayjobs.yaml of KubeRay
PLATES = _root() / "plates"  # images/ and boxes.json
MODELS = _models()


def needs_data(*folders: Path) -> pytest.MarkDecorator:
    """Return a mark that skips tests where one of the folders is missing."""
    missing = [folder.name for folder in folders if not folder.is_dir()]
    return pytest.mark.skipif(
        bool(missing), reason=f"{NO_DATA}{DATA_VARIABLE} names no folder with {', '.join(missing)}"
    )


def needs_tool(name: str, package: str) -> pytest.MarkDecorator:
    """Return a mark that skips tests where a program is missing; `package` of Debian has it."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{NO_TOOL}no {name} (Debian: {package})")


def weights_reason(*names: str) -> str:
    """Return why a test that needs the weights in these files is skipped; empty where they are all there."""
    missing = [name for name in names if not (MODELS / name).is_file()]
    return f"{NO_WEIGHTS}{MODELS_VARIABLE} names no folder with {', '.join(missing)}" if missing else ""


def skip_without_weights(*names: str) -> None:
    """Skip the running test where one of the files is missing in the folder of weights."""
    if reason := weights_reason(*names):
        pytest.skip(reason)
