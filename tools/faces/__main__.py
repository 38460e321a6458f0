"""Measure and show replaced faces.

    export ANON_BATCH_TEST_DATA=... ANON_BATCH_TEST_MODELS=...
    python -m tools.faces produce swap gan swap@expansion=1.3 --runs RUNS
    python -m tools.faces time swap --runs RUNS
    python -m tools.faces measure swap gan --runs RUNS --embedder A.onnx --embedder B.onnx
    python -m tools.faces table swap gan --runs RUNS
    python -m tools.faces sheets street,small sheet swap gan --runs RUNS --blind
    python -m tools.faces tally sheet-street.key.json verdict.txt

Outputs of another commit are columns like others: run `produce` there with `--label`, and give the same --runs.
RUNS holds originals and faces: keep it private.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.faces.runs import Runs
    from tools.faces.sets import Data

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    from anon_batch.errors import AnonBatchError
    from tools.faces.categories import CATEGORIES
    from tools.faces.sets import SETS, Data

    parser = argparse.ArgumentParser(
        prog="python -m tools.faces", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("produce", "write outputs of variants"), ("time", "CPU time of a face")):
        command = commands.add_parser(name, help=text)
        command.add_argument("variants", nargs="+")
        command.add_argument("--label", help="name of the folder below RUNS; one variant only")
    command = commands.choices["produce"]
    command.add_argument("--sets", default=",".join(SETS))
    command.add_argument("--seeds", type=int, default=3, help="passes over the photographs")
    command.add_argument("--every", type=int, default=1, help="take one in so many images, except of pairs")
    command = commands.add_parser("measure", help="print the figures of outputs")
    command.add_argument("names", nargs="+", help="folders below RUNS")
    command.add_argument("--measures", default="ap,frechet,seam,probe,pairs")
    command.add_argument("--embedder", action="append", default=[], help="face recogniser (ONNX); repeatable")
    command.add_argument("--every", type=int, default=1, help="use one in so many photographs and single faces")
    command = commands.add_parser("table", help="print figures side by side that were measured before")
    command.add_argument("names", nargs="+", help="folders below RUNS")
    command = commands.add_parser("sheets", help="draw faces side by side")
    command.add_argument("category", help=f"one of {', '.join(CATEGORIES)}, comma-separated, or all")
    command.add_argument("target", type=Path, help="pages are TARGET-CATEGORY-1.png, ...")
    command.add_argument("names", nargs="+", help="folders below RUNS, or `original`")
    command.add_argument("--count", type=int, default=24, help="faces of each category")
    command.add_argument("--seed", type=int, default=0, help="of the choice and of the columns' order")
    command.add_argument("--no-reference", action="store_true", help="leave the original at the left out")
    command.add_argument(
        "--blind", action="store_true", help="shuffle the columns of each face; write TARGET-*.key.json"
    )
    command = commands.add_parser("tally", help="count verdicts on blind sheets")
    command.add_argument("files", nargs="+", type=Path, metavar="KEY VERDICT", help="key and verdict of each sheet")
    for command in commands.choices.values():
        command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the outputs")
    options = parser.parse_args(arguments)
    try:
        return _run(options, Data.from_environment())
    except AnonBatchError as exc:
        parser.exit(1, f"{exc}\n")


def _run(options: argparse.Namespace, data: Data) -> int:
    import cv2
    import torch

    from tools.faces import produce, timing
    from tools.faces.runs import Runs
    from tools.faces.table import draw_table
    from tools.faces.tally import tally

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if options.command in {"produce", "time"}:
        for variant in options.variants:
            label = options.label or variant
            if options.command == "time":
                timing.write_time(data, options.runs, variant, label)
            else:
                sets = options.sets.split(",")
                produce.produce(data, options.runs, variant, label, sets, options.seeds, options.every)
    if options.command == "measure":
        runs = Runs(data, options.runs, tuple(options.embedder), options.every)
        for name in options.names:
            _measure(runs, name, options.measures.split(","))
    if options.command == "table":
        print(draw_table(options.runs, options.names))
    if options.command == "tally":
        print(tally(list(zip(options.files[::2], options.files[1::2], strict=True))))
    if options.command == "sheets":
        _draw(Runs(data, options.runs), options)
    return 0


def _draw(runs: Runs, options: argparse.Namespace) -> None:
    from tools.faces.categories import CATEGORIES
    from tools.faces.sheets import draw

    for category in CATEGORIES if options.category == "all" else options.category.split(","):
        target = options.target.with_name(f"{options.target.name}-{category}")
        key = target.with_name(f"{target.name}.key.json") if options.blind else None
        for page in draw(
            runs,
            category,
            options.names,
            target,
            count=options.count,
            seed=options.seed,
            reference=not options.no_reference,
            key=key,
        ):
            print(page)


def _measure(runs: Runs, name: str, measures: list[str]) -> None:
    from tools.faces.figures import MEASURES

    path = runs.folder / name / "figures.json"
    figures = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for measure in measures:
        figures[measure] = MEASURES[measure](runs, name)
        path.write_text(json.dumps(figures, indent=1), "utf-8")


if __name__ == "__main__":
    for name in THREADS:
        os.environ.setdefault(name, "1")
    sys.exit(main())
