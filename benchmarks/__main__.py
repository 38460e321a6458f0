"""Throughput, accuracy and cost side by side in one run: the package, the same work in a bare loop, and `deface`.

Contenders run in turn, round after round; every ratio is one of a round. Figures are printed and kept as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anon_batch.errors import AnonBatchError
from benchmarks import comparison, document, record
from benchmarks.pictures import NoPhotographsError, find_photographs
from benchmarks.processes import ProcessWatch
from benchmarks.sections import SECTIONS
from benchmarks.workplace import Settings, Workplace


def main() -> int:
    """Measures, or reads what was measured; prints, keeps, writes. 1 when a target is missed."""
    parser = _parser()
    args = parser.parse_args()
    try:
        sections = _read(args.figures) if args.figures else _measured(args)
        print(document.terminal(sections))
        if args.markdown:
            args.markdown.write_text(document.markdown(sections), encoding="utf-8")
        if args.write:
            args.write.write_text(document.filled(args.write.read_text(encoding="utf-8"), sections), encoding="utf-8")
    except (NoPhotographsError, document.MarkerError, AnonBatchError, OSError, RuntimeError) as exc:
        parser.exit(2, f"{parser.prog}: {exc}\n")
    missed = comparison.missed(sections)
    print("all targets met" if not missed else f"MISSED: {'; '.join(missed)}")
    return 1 if missed else 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    sources = find_photographs(args.photos, args.ground_truth)
    if args.write:
        document.check_places(args.write.read_text(encoding="utf-8"), args.sections)
    settings = Settings(args.images, args.large_images, args.rounds, args.workers, args.backend, args.rows)
    folder = Path(tempfile.mkdtemp(prefix="anon-batch-bench-", dir=args.folder))
    sections: dict[str, Any] = {}
    try:
        with ProcessWatch() as watch:
            measure(Workplace(folder, sources, settings, watch), args.sections, sections)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if sections:  # also what was measured before a fault
            print(f"kept in {record.keep('bench', {'sections': sections}, args.results)}", file=sys.stderr)
    return sections


def measure(place: Workplace, names: list[str], sections: dict[str, Any]) -> None:
    """Puts each section's figures into `sections`, with when, where and beside how much else they were measured."""
    for name in names:
        place.say(f"section {name}: {SECTIONS[name].title}")
        measured_at, machine, begin = datetime.now(UTC), record.machine(), time.time()
        figures = SECTIONS[name].measure(place)
        end = time.time() if place.watch is None else place.watch.settle()
        circumstances = {
            "measured_at": measured_at.isoformat(timespec="seconds"),
            "seconds": end - begin,
            "machine": machine,
            "rounds": figures.get("rounds", place.settings.rounds),
            "others_share": None if place.watch is None else place.watch.others_share(begin, end),
        }
        sections[name] = figures | {"circumstances": circumstances}


def _read(paths: list[Path]) -> dict[str, Any]:
    """Sections of kept files; of those that several have, the last file's."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            found |= json.loads(path.read_text(encoding="utf-8"))["sections"]
        except (ValueError, KeyError, TypeError) as exc:
            raise OSError(f"{path} holds no figures of this benchmark ({type(exc).__name__}: {exc})") from None
    return {name: found[name] for name in SECTIONS if name in found}


def _sections(text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in asked]


def _lengths(text: str) -> tuple[int, ...]:
    try:
        rows = tuple(int(part) for part in text.split(","))
    except ValueError:
        rows = ()
    if not rows or min(rows) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers of rows, e.g. 10000,100000")
    return rows


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    told = "sections: " + "; ".join(f"{name}: {section.title}" for name, section in SECTIONS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=str(__doc__), epilog=told)
    add, usual = parser.add_argument, Settings()
    add("--sections", type=_sections, default=list(SECTIONS), help="some of them, comma-separated; default: all")
    add("--photos", type=Path, help="folder of photographs; default: the evaluation set, else the sample")
    add("--ground-truth", type=Path, help="their labelled faces, as `anon-batch manifest` takes them")
    add("--images", type=_count, default=usual.images, help="photographs are repeated to this many, or a share of it")
    add("--large-images", type=_count, default=usual.large_images, help="pictures of 12 megapixels")
    add("--rows", type=_lengths, default=usual.rows, help="lengths of the null model; a million takes ten minutes")
    add("--workers", type=_count, default=usual.workers)
    add("--rounds", type=_count, default=usual.rounds)
    add("--backend", default=usual.backend, help="detect.backend of this package: auto, onnxruntime, openvino, torch")
    add("--folder", type=Path, help="where everything lies meanwhile; default: the temporary folder")
    add("--results", type=Path, default=record.RESULTS, help="folder of the JSON files")
    add("--markdown", type=Path, help="also write all tables into this file")
    add("--write", type=Path, help="also put the tables between the markers of this document")
    add("--from", dest="figures", type=Path, nargs="+", help="measure nothing: show the figures of kept JSON files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
