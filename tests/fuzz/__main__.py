"""Fuzz one target for some seconds; inputs that reach new code are kept in a folder, and one that fails ends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anon_batch.imaging", "anon_batch.manifest"]):
    from fuzz.targets import TARGETS

from fuzz.seeds import write_seeds


def main() -> None:
    """Run libFuzzer; it exits with 77 and leaves the input in FOLDER/TARGET-crash-... when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument(
        "--folder", type=Path, default=Path(".fuzz"), help="where inputs are kept from one time to the next"
    )
    given = parser.parse_args()
    found = given.folder / given.target
    found.mkdir(parents=True, exist_ok=True)
    write_seeds(given.target, found)
    options = [
        f"-max_total_time={given.seconds}",
        "-timeout=30",
        "-rss_limit_mb=3000",
        "-max_len=16384",
        "-print_final_stats=1",
        f"-artifact_prefix={given.folder}/{given.target}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(found)], TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
