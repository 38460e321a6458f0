"""Write a sample of photographs with ImageNet's mix, to estimate the time of a job on ImageNet without having it.

    python -m tools.imagenet_mix FACES OTHERS -o FOLDER
    anon-batch estimate jobs/imagenet-train.yaml --set manifest=FOLDER/manifest.parquet --set 'detect.detectors=[centerface]'

FACES holds `boxes.json` ([{"file": NAME, "boxes": [...]}]) and `images/`; OTHERS is a folder of photographs without faces. 17 %
of the images have faces, 2.3 on average (Yang et al., A Study of Face Obfuscation in ImageNet, ICML 2022: over 550,000 faces in
about 240,000 of 1.4 million images). All are JPEGs of 0.18 megapixels and of about 110 kB, as ImageNet's are on average. The
manifest has as many rows as ImageNet has training images: the sample over and over.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FACE_SHARE = 0.17
FACES_PER_IMAGE = 2.3
PIXELS = 180_000
BYTES = 110_000
ROWS = 1_281_167
_MOST_FACES = 8
_QUALITIES = (99, 98, 97, 96, 95, 93, 90, 85, 80)


def choose(counts: Mapping[str, int], number: int, rng: random.Random) -> list[str]:
    """Return names of images, drawn with replacement, that have FACES_PER_IMAGE faces on average.

    Args:
        counts: name -> number of faces.
        number: how many names to draw.
        rng: for the draw.
    """
    single = sorted(name for name, count in counts.items() if count == 1)
    several = sorted(name for name, count in counts.items() if 2 <= count <= _MOST_FACES)
    mean = sum(counts[name] for name in several) / len(several)
    wanted = round(number * (FACES_PER_IMAGE - 1) / (mean - 1))
    return rng.choices(several, k=wanted) + rng.choices(single, k=number - wanted)


def shrink(path: Path) -> bytes:
    """Return a photograph as a JPEG of PIXELS pixels, in the highest quality that is not over BYTES bytes."""
    image = Image.open(path).convert("RGB")
    scale = (PIXELS / (image.width * image.height)) ** 0.5
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= BYTES:
            break
    return buffer.getvalue()


def list_rows(number: int) -> pa.Table:
    """Return a manifest of ROWS rows that leads to the images `0000.jpg` and so on, `number` of them, in turn."""
    ids = [f"{row // number:04d}/{row % number:04d}.jpg" for row in range(ROWS)]
    table = pa.table({"image_id": ids, "uri": [image_id.partition("/")[2] for image_id in ids]})
    return table.replace_schema_metadata({"base_uri": "."})


def main() -> None:
    """Write the sample, and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("others", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--number", type=int, default=600)
    given = parser.parse_args()
    rng = random.Random(0)
    entries = json.loads((given.faces / "boxes.json").read_text(encoding="utf-8"))
    counts = {entry["file"]: len(entry["boxes"]) for entry in entries}
    with_faces = choose(counts, round(given.number * FACE_SHARE), rng)
    others = sorted(path for path in given.others.iterdir() if path.is_file())
    chosen = [given.faces / "images" / name for name in with_faces]
    chosen += rng.choices(others, k=given.number - len(chosen))
    rng.shuffle(chosen)
    given.output.mkdir(parents=True)
    written = [shrink(path) for path in chosen]
    for at, data in enumerate(written):
        (given.output / f"{at:04d}.jpg").write_bytes(data)
    pq.write_table(list_rows(len(written)), given.output / "manifest.parquet")
    faces = sum(counts[name] for name in with_faces)
    print(
        f"{len(written)} images, {len(with_faces)} with {faces} faces, {sum(map(len, written)) / len(written):,.0f} bytes each"
    )


if __name__ == "__main__":
    main()
