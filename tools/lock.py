"""Write the locks of the container image: every package of it, with version and digests. Run: `python -m tools.lock`.

    infra/requirements.lock       x86-64 Linux, torch with CUDA
    infra/requirements-cpu.lock   the same without CUDA; torch's wheel comes from an index or folder that --cpu-wheels names

Versions of an earlier lock are kept, unless --upgrade is given. Needs `uv` on the PATH; it resolves from the index that uv is
configured for, and no address of one gets into the files.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOCKS = {"cuda": ROOT / "infra/requirements.lock", "cpu": ROOT / "infra/requirements-cpu.lock"}
PYTHON_VERSION = "3.11"  # of infra/Dockerfile
PLATFORM = "x86_64-manylinux_2_28"
_HEADER = """\
# Every package of the container image ({kind}), Python {python} on x86-64 Linux. Made by `python -m tools.lock`; do not edit.
# pip install --require-hashes -r {name}
"""
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9.-]*)(?:\[[^]]*\])?==(\S+)")

_USER = re.compile(r"^#\s+(?:via )?([a-z0-9][a-z0-9.-]*|-r \S+)(?: \(pyproject\.toml\))?$")


class Locked(NamedTuple):
    """One package of a lock.

    Args:
        name: normalised.
        version: as pip compares it.
        digests: SHA-256 of the files that may be installed, 64 hexadecimal digits.
        needed_by: packages of the lock that need it.
    """

    name: str
    version: str
    digests: tuple[str, ...]
    needed_by: tuple[str, ...]


def read_lock(path: Path) -> list[Locked]:
    """Return the packages of a lock in its order."""
    found: list[Locked] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if match := _PACKAGE.match(line):
            found.append(Locked(match[1], match[2], (), ()))
        elif digest := re.match(r"--hash=sha256:([0-9a-f]{64})", text):
            found[-1] = found[-1]._replace(digests=(*found[-1].digests, digest[1]))
        elif found and (user := _USER.match(text)) and user[1] != "via":
            name = (
                "anon-batch" if user[1].startswith("-r ") else user[1]
            )  # because the image needs what infra/*.in lists
            if name not in found[-1].needed_by:
                found[-1] = found[-1]._replace(needed_by=(*found[-1].needed_by, name))
    return found


def write_lock(kind: str, cpu_wheels: str | None, *, upgrade: bool) -> None:
    """Resolve a lock and write it."""
    path = LOCKS[kind]
    sources = ["pyproject.toml", "infra/build.in", "infra/cluster.in"]
    options = [
        "--generate-hashes",
        "--no-header",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "-c",
        "constraints.txt",
    ]
    if kind == "cpu":
        sources.append("infra/cpu.in")
        options += ["--find-links", cpu_wheels or "."]
    command = ["uv", "pip", "compile", "--quiet", "--python-version", PYTHON_VERSION, "--python-platform", PLATFORM]
    kept = [] if upgrade or not path.exists() else [f"{name}=={version}" for name, version, *_ in read_lock(path)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(kept))
        file.flush()
        command += [*options, "-c", file.name, *sources]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    name = path.relative_to(ROOT)
    text = "".join(line for line in done.stdout.splitlines(keepends=True) if file.name not in line)
    path.write_text(_HEADER.format(kind=kind, python=PYTHON_VERSION, name=name) + text, encoding="utf-8")
    print(f"{name}: {len(read_lock(path))} packages")


def main(arguments: list[str]) -> None:
    """Write the locks that the arguments ask for."""
    parser = argparse.ArgumentParser(description="Write the locks of the container image.")
    parser.add_argument("kinds", nargs="*", choices=[*LOCKS, []], help="default: cuda")
    parser.add_argument("--cpu-wheels", help="folder or address of an index page with torch's wheels without CUDA")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    given = parser.parse_args(arguments)
    for kind in given.kinds or ["cuda"]:
        write_lock(kind, given.cpu_wheels, upgrade=given.upgrade)


if __name__ == "__main__":
    main(sys.argv[1:])
