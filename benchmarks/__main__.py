"""Measure throughput, CPU time and peak memory side by side: this project, a bare loop, deface.

Contenders run in turn, round after round, and every ratio is one of a round. Photographs come from --photos, else from
ANON_BATCH_TEST_DATA, else they are the sample's.

    python -m benchmarks --sections photos,faceless --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.images import find_photographs
from benchmarks.sections import SECTIONS, Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the sections, print a table for each, and write their medians where --json says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"{name:13} {function.__doc__}" for name, function in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sections", default=",".join(SECTIONS), help="comma-separated; default: all")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    for name in ("count", "large", "rounds", "workers", "rows"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    parser.add_argument("--json", type=Path, help="write the medians to this file")
    options = parser.parse_args(arguments)
    names = options.sections.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        parser.error(f"--sections: {', '.join(unknown)}; choose from {', '.join(SECTIONS)}")
    figures = {}
    for name in names:
        scratch = Path(tempfile.mkdtemp(prefix="anon-batch-bench-"))
        try:
            settings = Settings(
                find_photographs(options.photos),
                scratch,
                options.count,
                options.large,
                options.rounds,
                options.workers,
                options.rows,
            )
            section = SECTIONS[name](settings)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        print(f"{section.text}\n", flush=True)
        figures[name] = section.medians
    if options.json:
        machine = {"processor": platform.processor(), "cpus": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "sections": figures}, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
