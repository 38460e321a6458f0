"""Command line of the soak."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from soak.rounds import Soak, start_command, start_forked

ON_RAY = 100  # one of so many rounds runs the real command with Ray


def main() -> int:
    """Run rounds; print a line for each kind of fault. Return 1 if a round failed."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="repeat this round alone")
    parser.add_argument("--ray", action="store_true", help="run all rounds with Ray, not only each hundredth")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    numbers = [options.only] if options.only is not None else list(range(1, options.rounds + 1))
    on_ray = numbers if options.ray else [number for number in numbers if number % ON_RAY == 0]
    forked = [number for number in numbers if number not in on_ray]
    begin = time.monotonic()
    failed = _run("with forked workers", folder / "forked", options.seed, forked, start_forked)
    failed += _run("the command, with Ray", folder / "ray", options.seed, on_ray, start_command)
    print(f"{len(numbers)} rounds in {time.monotonic() - begin:.0f} s, seed {options.seed}: ", end="")
    print(f"{failed} FAILED, kept in {folder}" if failed else "no row lost, doubled or leaked")
    if not failed:
        shutil.rmtree(folder)
    return int(failed > 0)


def _run(title: str, folder: Path, seed: int, numbers: list[int], start: Callable[..., int]) -> int:
    """Run rounds and print what happened; return how many failed."""
    if not numbers:
        return 0
    soak = Soak(folder, seed, start)
    failed = 0
    for number in numbers:
        try:
            soak.round(number)
        except AssertionError as exc:
            failed += 1
            print(f"FAILED {exc}", flush=True)
    print(f"{len(numbers)} rounds {title}:", *soak.lines(), sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
