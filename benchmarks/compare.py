"""Compare this checkout with another one of this repository in one run: speed, CPU time and peak memory.

    python -m benchmarks.compare ../anon-batch-before --methods solid,gan --sets photos,large --rounds 5

Both run under this interpreter, in turn, each with job files as its version reads them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import contenders, images
from benchmarks.report import Contender, play, table


def main(arguments: list[str] | None = None) -> int:
    """Print one table for each image set and method."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--methods", default="solid,gan")
    parser.add_argument("--sets", default="photos", help=f"some of {', '.join(SETS)}; default: photos")
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--count", type=int, default=400, help="images of the sets photos and faceless")
    parser.add_argument("--large", type=int, default=24, help="images of the set large")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    if not (options.other / "anon_batch/__main__.py").is_file():
        parser.error(f"{options.other} is no checkout of this repository: it has no anon_batch/__main__.py")
    scratch = Path(tempfile.mkdtemp(prefix="anon-batch-compare-"))
    try:
        photographs = find(options)
        for name in options.sets.split(","):
            count = options.large if name == "large" else options.count
            folder = images.repeat(SETS[name](photographs[:count], scratch / f"{name}-sources"), scratch / name, count)
            for method in options.methods.split(","):
                players = {
                    "this": _run(folder, scratch / "this", contenders.ROOT, options.workers, method),
                    "other": _run(folder, scratch / "other", options.other.resolve(), options.workers, method),
                }
                title = f"{name}, {method}: {count} images, {options.workers} workers"
                print(table(title, play(players, options.rounds), [("this", "other")]), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def find(options: argparse.Namespace) -> list[Path]:
    """Return the photographs that the options name."""
    return images.find_photographs(options.photos)


SETS: dict[str, Callable[[list[Path], Path], list[Path]]] = {
    "photos": lambda photographs, _: photographs,
    "faceless": images.cover_faces,
    "large": images.enlarge,
}


def _run(folder: Path, scratch: Path, checkout: Path, workers: int, method: str) -> Contender:
    return lambda: contenders.run(folder, scratch, {}, workers, checkout, method)


if __name__ == "__main__":
    sys.exit(main())
