"""Draw docs/before-after.jpg: sample photographs above, a release of them below, one column for each method.

python -m tools.before_after
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "manifests/sample"
TARGET = ROOT / "docs/before-after.jpg"
METHODS = ("gan", "swap", "pixelate", "solid")
HEIGHT_PX, WIDTH_PX, GAP_PX, CAPTION_PX = 300, 360, 8, 26
BEST_SHARE = 1 / 3
MAX_BYTES = 400_000


def main() -> None:
    """Draw the file and print its size."""
    photos = choose(SAMPLE / "photos", SAMPLE / "faces.json", len(METHODS))
    with tempfile.TemporaryDirectory() as scratch:
        columns = [
            (ImageOps.exif_transpose(Image.open(photo)), release(photo, method, Path(scratch) / method), method)
            for photo, method in zip(photos, METHODS, strict=True)
        ]
        drawn = strip(columns)
    TARGET.parent.mkdir(exist_ok=True)
    drawn.save(TARGET, quality=85, optimize=True)
    size_bytes = TARGET.stat().st_size
    print(f"{TARGET}: {drawn.width} x {drawn.height} px, {size_bytes:,} bytes, of {', '.join(p.name for p in photos)}")
    if size_bytes > MAX_BYTES:
        sys.exit(f"larger than {MAX_BYTES:,} bytes")


def choose(folder: Path, ground_truth: Path, count: int) -> list[Path]:
    """Return the photographs whose largest face is nearest to a third of their height, because small ones cannot be seen."""
    truth = json.loads(ground_truth.read_text(encoding="utf-8"))
    sizes: dict[Path, float] = {}
    for name, boxes in truth.items():
        path = folder / name
        if boxes and path.is_file():
            with Image.open(path) as image:
                sizes[path] = max(b[3] - b[1] for b in boxes) / image.height
    chosen = sorted(sizes, key=lambda path: (abs(sizes[path] - BEST_SHARE), path.name))[:count]
    if len(chosen) < count:
        sys.exit(f"{ground_truth} labels faces in {len(chosen)} photographs of {folder}; {count} are needed")
    return chosen


def release(photo: Path, method: str, scratch: Path) -> Image.Image:
    """Return a photograph's output, made by the command line as a user would."""
    manifest, output = scratch / "manifest.parquet", scratch / "release"
    command = [sys.executable, "-c", "from anon_batch.cli import main; main()"]
    subprocess.run([*command, "manifest", str(photo), "-o", str(manifest)], check=True, capture_output=True)
    job = f"run --manifest {manifest} --output {output} --method {method} --set engine.workers=1"
    allow = f"sources.allow=[{photo.parent}/]"
    subprocess.run([*command, *job.split(), "--set", allow], check=True, capture_output=True)
    [row] = pd.read_parquet(output / "provenance").to_dict("records")
    if row["status"] != "anonymized":
        sys.exit(f"{photo.name} with {method}: {row['status']}")
    return ImageOps.exif_transpose(Image.open(output / row["output"]))


def strip(columns: list[tuple[Image.Image, Image.Image, str]]) -> Image.Image:
    """Return one image with a column of (before, after) and the method's name for each entry."""
    width = len(columns) * (WIDTH_PX + GAP_PX) - GAP_PX
    out = Image.new("RGB", (width, 2 * HEIGHT_PX + GAP_PX + CAPTION_PX), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(18)
    for number, (before, after, method) in enumerate(columns):
        left = number * (WIDTH_PX + GAP_PX)
        for row, image in enumerate((before, after)):
            fitted = ImageOps.fit(image.convert("RGB"), (WIDTH_PX, HEIGHT_PX), Image.Resampling.LANCZOS)
            out.paste(fitted, (left, row * (HEIGHT_PX + GAP_PX)))
        draw.text((left + WIDTH_PX / 2, 2 * HEIGHT_PX + GAP_PX + 3), method, "black", font, anchor="ma")
    return out


if __name__ == "__main__":
    main()
