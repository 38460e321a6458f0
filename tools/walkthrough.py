"""Run the commands of the README as a new user would, from an empty folder to a signed release, and print how long each takes.

    python -m tools.walkthrough FOLDER [--python PYTHON]

Clones this repository into FOLDER, makes a virtual environment there, installs the package as the README says, and runs the
README's quick start on the sample photographs. The package index and pip's cache are those of the machine.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PHOTOS = Path("manifests/sample/photos")
_BLOCK = r"<!-- test: {} -->\n```\w+\n(.*?)```"


class Step(NamedTuple):
    """A command of the README and the lines that it shows below."""

    command: str
    shown: list[str]


def quick_start() -> list[Step]:
    """Return the commands of the README's quick start."""
    steps: list[Step] = []
    for line in _block("quick start").splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ "), []))
        else:
            steps[-1].shown.append(line)
    return steps


def install_commands() -> list[str]:
    """Return the README's commands that install the package; those for the system are left to its owner."""
    lines = [line.partition("#")[0].strip() for line in _block("install").splitlines()]
    return [line for line in lines if line and not line.startswith("apt-get")]


def differences(step: Step, printed: str) -> list[str]:
    """Return the lines that the README shows and the command did not print; seconds may differ."""
    known = {_without_seconds(line) for line in printed.splitlines()}
    return [line for line in step.shown if _without_seconds(line) not in known]


def walk(steps: list[Step], folder: Path, env: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Run commands one after the other; yield each with its seconds.

    Raises:
        SystemExit: a command failed, or did not print what the README shows.
    """
    for step in steps:
        start = time.monotonic()
        done = subprocess.run(
            step.command, cwd=folder, env=env, shell=True, capture_output=True, text=True, check=False
        )
        printed = done.stdout + done.stderr
        if done.returncode or (lost := differences(step, printed)):
            why = f"exit code {done.returncode}" if done.returncode else f"it did not print {lost}"
            raise SystemExit(f"{step.command}: {why}\n{printed}")
        yield step.command, time.monotonic() - start


def _block(marker: str) -> str:
    found = re.search(_BLOCK.format(marker), (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def _without_seconds(line: str) -> str:
    return re.sub(r"(?:\d+ min )?\d+(?:\.\d+)? s\b", "0 s", line)


def main() -> None:
    """Walk and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable, help="makes the virtual environment")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    clone, work = folder / "anon-batch", folder / "work"
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["PATH"] = f"{folder / 'venv/bin'}:{env['PATH']}"
    rows = list(walk([Step(f"git clone {ROOT} anon-batch", [])], folder, env))
    rows += walk([Step(f"{options.python} -m venv venv", [])], folder, env)
    rows += walk([Step(command, []) for command in install_commands()], clone, env)
    work.mkdir()
    shutil.copytree(clone / PHOTOS, work / "photos")
    rows += walk(quick_start(), work, env)
    rows.append(("all", sum(seconds for _, seconds in rows)))
    print("| command | seconds |\n|---|---|")
    for command, seconds in rows:
        shown = command.replace(str(ROOT), "REPOSITORY").replace(options.python, "python3")
        print(f"| `{shown}` | {seconds:.1f} |")


if __name__ == "__main__":
    main()
