"""A wheel built from the repository runs the default job in an environment of its own, with the weights inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PHOTOS = ("people/astronaut.png", "people/london/003_neutral.jpg")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` folder of a virtual environment that holds the wheel; its dependencies are those of this environment."""
    tmp = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name.startswith("anon_batch/") or name in ("pyproject.toml", "README.md", "LICENSE"):
            (tmp / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp), str(tmp / "source")]
    subprocess.run([*pip, *build], check=True)
    [wheel] = tmp.glob("*.whl")
    venv.create(tmp / "env", with_pip=False, symlinks=True)
    python = tmp / "env/bin/python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    [site] = (tmp / "env/lib").glob("python*/site-packages")
    # A path file of a folder that a path file names is not read, so an editable install of this package stays invisible.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.mark.full
def test_wheel_runs_the_default_job(installed: Path, tmp_path: Path) -> None:
    for name in PHOTOS:
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(ROOT / "manifests/sample/photos" / name, tmp_path / "photos")
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ANON_BATCH_MODEL_MIRROR")}
    env |= {"HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}  # nothing is cached, nothing can be downloaded

    def call(*command: str) -> str:
        done = subprocess.run(
            [str(installed / command[0]), *command[1:]], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = call("python", "-c", "import anon_batch; print(anon_batch.__file__)").strip()
    assert where.startswith(str(installed.parent)), "the package does not come from the wheel"
    call("anon-batch", "manifest", "photos", "-o", "manifest.parquet")
    call("anon-batch", "run", "--manifest", "manifest.parquet", "--output", "release", "--set", "engine.workers=1")
    call("anon-batch", "verify", "release")
    call("anon-batch", "report", "release")
    rows = pd.read_parquet(tmp_path / "release/provenance")
    assert list(rows.status) == ["anonymized", "anonymized"]
    assert {region["method"] for regions in rows.regions for region in regions} == {"gan"}
