"""The README's quick start runs as it stands, on the photographs that it names, and prints what the README shows."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from releases import environment

from tools.walkthrough import PHOTOS, ROOT, Step, differences, install_commands, quick_start, walk


@pytest.mark.full
def test_quick_start_prints_what_the_readme_shows(tmp_path: Path) -> None:
    program = tmp_path / "bin/anon-batch"
    program.parent.mkdir()
    code = shlex.quote("from anon_batch.cli import main; main()")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {code} "$@"\n')
    program.chmod(0o755)
    shutil.copytree(ROOT / PHOTOS, tmp_path / "photos")
    paths = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    commands = [command for command, _ in walk(quick_start(), tmp_path, environment(paths))]
    assert [command.split()[1] for command in commands] == ["manifest", "run", "keys", "release", "verify"]


def test_lines_that_a_command_does_not_print_are_found() -> None:
    step = Step("x", ["13 rows in 22.1 s: 9 clean", "gate"])
    assert differences(step, "13 rows in 1 min 05 s: 9 clean\n") == ["gate"]
    assert differences(step, "gate\n13 rows in 5.0 s: 8 clean") == ["13 rows in 22.1 s: 9 clean"]


def test_the_readme_says_how_to_install() -> None:
    assert install_commands() == ["pip install ."]
