"""Runs the contenders in turn, several rounds, and prints medians and ratios."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from anon_batch.layout import IMAGE_SUFFIXES
from jobs.bench import accuracy, contenders, record

TARGETS = {"run / bare": 0.85, "run / deface": 2.0}
_RATES = ("recall", "average_precision", "precision")
_PLACES = (
    (Path("../shared/data/photos/images"), Path("../shared/data/photos/boxes.json")),
    (Path("manifests/sample/photos"), Path("manifests/sample/faces.json")),
)


def main() -> int:
    """Measures, prints, keeps; 1 when a target is missed."""
    args = _arguments()
    photos, labels = _inputs(args)
    folder = Path(tempfile.mkdtemp(prefix="anon-batch-bench-", dir=args.folder))
    try:
        figures = measure(folder, photos, labels, Setup(args.images, args.workers, args.rounds, args.backend))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report(figures))
    print(f"kept in {record.keep('bench', figures, args.results)}")
    return 0 if figures["targets_met"] else 1


class Setup(NamedTuple):
    """How many pictures, processes of a side and repetitions; what runs the package's network (`detect.backend`)."""

    images: int
    workers: int
    rounds: int
    backend: str = "auto"


def measure(folder: Path, photos: list[Path], labels: Path | None, setup: Setup) -> dict[str, Any]:
    """Runs every contender in turn, `setup.rounds` times, on `photos` repeated to `setup.images` pictures.

    Returns:
        The figures.
    """
    images, workers, rounds, backend = setup
    figures: dict[str, Any] = {"machine": record.machine(), "photos": len(photos), **setup._asdict()}
    pictures = folder / "pictures"
    originals = repeat(photos, pictures, images)
    truth = repeated_labels(labels, originals, folder / "labels.json") if labels else None
    manifest = folder / "manifest.parquet"
    contenders.build_manifest(pictures, manifest, truth)
    files = sorted(pictures.iterdir())
    rates: dict[str, list[float]] = {"bare": [], "run": [], "deface": []}
    for number in range(rounds):
        bare, release = folder / f"bare-{number}", folder / f"release-{number}"
        rates["bare"].append(contenders.bare(files, bare, workers, backend).images_per_s)
        rates["run"].append(contenders.run(manifest, release, workers, backend).images_per_s)
        rates["deface"].append(contenders.deface(pictures).images_per_s)
        said = ", ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items())
        print(f"round {number + 1} of {rounds}: {said} images/s", file=sys.stderr, flush=True)
        shutil.rmtree(bare)
        if number == rounds - 1:
            stages = json.loads((release / "stats.json").read_text(encoding="utf-8"))["seconds"]
            figures["run_stage_ms_per_image"] = {name: 1e3 * spent / images for name, spent in stages.items()}
            if truth:
                other = accuracy.of_deface(originals, truth)
                figures["accuracy"] = {"run": accuracy.of_release(release), "deface": other}
        shutil.rmtree(release)
        shutil.rmtree(f"{release}-ledger")
    return figures | summary(rates, figures.get("accuracy"))


def summary(rates: dict[str, list[float]], scores: dict[str, accuracy.Scores] | None) -> dict[str, Any]:
    """Medians, the ratio of each round's pair and its median, and whether the targets are met.

    A ratio is taken within a round, as what else the machine does changes between rounds.
    """
    ratios = {}
    for name in TARGETS:
        upper, _, lower = name.partition(" / ")
        ratios[name] = [a / b for a, b in zip(rates[upper], rates[lower], strict=True)]
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    met = {name: medians[name] >= target for name, target in TARGETS.items()}
    if scores is not None:
        ours, theirs = scores["run"], scores["deface"]
        met["recall"] = all(ours[band]["recall"] >= theirs[band]["recall"] for band in ours)
    return {
        "images_per_s": rates,
        "median_images_per_s": {name: statistics.median(values) for name, values in rates.items()},
        "ratios": ratios, "median_ratios": medians, "targets": TARGETS, "met": met,
        "targets_met": all(met.values()),
    }


def repeat(photos: list[Path], folder: Path, images: int) -> dict[str, Path]:
    """Makes `images` distinctly named hard links to the photographs, or copies where links cannot be.

    Returns:
        Name -> photograph.
    """
    folder.mkdir()
    originals = {}
    for at in range(images):
        photo = photos[at % len(photos)]
        name = f"{at // len(photos):05d}-{photo.name}"
        try:
            os.link(photo, folder / name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(photo, folder / name)
        originals[name] = photo
    return originals


def repeated_labels(labels: Path, originals: dict[str, Path], path: Path) -> Path:
    """Writes the ground truth of the photographs' copies to `path` and returns it."""
    from anon_batch.manifest.ground_truth import read_ground_truth
    from anon_batch.storage import Storage

    known = read_ground_truth(Storage(), str(labels))
    repeated = {
        name: known[photo.name][:, :4].tolist() for name, photo in originals.items() if photo.name in known
    }
    path.write_text(json.dumps(repeated), encoding="utf-8")
    return path


def report(figures: dict[str, Any]) -> str:
    """The figures as lines."""
    machine, met = figures["machine"], figures["met"]
    lines = [
        f"{figures['images']:,} pictures of {figures['photos']} photos, method solid, detector centerface",
        f"{figures['workers']} workers on {machine['cpu_count']} x {machine['cpu']}, backend {figures['backend']}",
        f"load average at the start {machine['load_average'][0]:.1f}",
        "  steady images/s, median of the rounds (each):",
    ]
    for name, values in figures["images_per_s"].items():
        lines.append(f"    {name:<13}{figures['median_images_per_s'][name]:7.1f}  ({_listed(values, 1)})")
    lines.append("  ratios within a round, median (each):")
    for name, values in figures["ratios"].items():
        verdict = f"target {TARGETS[name]:g} {'met' if met[name] else 'MISSED'}"
        median = figures["median_ratios"][name]
        lines.append(f"    {name:<13}{median:7.2f}  ({_listed(values, 2)})  {verdict}")
    for who, bands in figures.get("accuracy", {}).items():
        for band, found in bands.items():
            shown = ", ".join(f"{key.replace('_', ' ')} {_rate(found[key])}" for key in _RATES)
            lines.append(f"  {who:<7} faces {band:<11} {found['faces']:>6}: {shown}")
    if "recall" in met:
        lines.append(f"  recall no lower than deface's: {'met' if met['recall'] else 'MISSED'}")
    spent = _stages(figures["run_stage_ms_per_image"])
    lines.append(f"  run's stages, ms a picture, waiting included: {spent}")
    return "\n".join(lines)


def _listed(values: list[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def _rate(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _stages(spent: dict[str, float]) -> str:
    return ", ".join(f"{stage} {ms:.1f}" for stage, ms in sorted(spent.items()))


def _inputs(args: argparse.Namespace) -> tuple[list[Path], Path | None]:
    folder, labels = args.photos, args.ground_truth
    if folder is None:
        known = next(((place, truth) for place, truth in _PLACES if place.is_dir()), None)
        if known is None:
            sys.exit("no photographs here; name a folder of them with --photos")
        folder, labels = known[0], labels or (known[1] if known[1].exists() else None)
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not photos:
        sys.exit(f"{folder}: no photographs")
    return photos, labels


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.bench", description=str(__doc__))
    add = parser.add_argument
    add("--photos", type=Path, help="folder of photographs; default: the evaluation set, else the sample")
    add("--ground-truth", type=Path, help="their labelled faces, as `anon-batch manifest` takes them")
    add("--images", type=int, default=2000, help="the photographs are repeated to this many")
    add("--workers", type=int, default=2)
    add("--rounds", type=int, default=3)
    add("--backend", default="auto", help="detect.backend of this package's two: auto, onnxruntime, openvino, torch")
    add("--folder", type=Path, help="where everything lies meanwhile; default: the temporary folder")
    add("--results", type=Path, default=record.RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
