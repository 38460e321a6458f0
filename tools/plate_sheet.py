"""Write a sheet of drawn plates, four of each format, as an image file: nothing in it comes from a photograph.

python -m tools.plate_sheet docs/plates.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from anon_batch import keys
from anon_batch.anonymize.plates.design import FORMATS, draw_plate

COUNT, HEIGHT, GAP, GROUND = 4, 56, 12, 90


def draw_sheet() -> npt.NDArray[np.uint8]:
    """Return the sheet, (H, W, 3) RGB: a row for each format."""
    rows = []
    for number, form in enumerate(FORMATS):
        plates = [draw_plate(keys.generator(100 * number + at), form.aspect, "unissued") for at in range(COUNT)]
        rows.append([_shown(plate * opacity[:, :, None], opacity) for plate, opacity in plates])
    width = max(sum(plate.width + GAP for plate in row) for row in rows) + GAP
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT + GAP) + GAP), (GROUND,) * 3)
    for number, row in enumerate(rows):
        left = GAP
        for plate in row:
            sheet.paste(plate, (left, GAP + number * (HEIGHT + GAP)))
            left += plate.width + GAP
    return np.asarray(sheet)


def _shown(plate: npt.NDArray[np.float32], opacity: npt.NDArray[np.float32]) -> Image.Image:
    ground = (1 - opacity[:, :, None]) * GROUND
    pixels = np.rint(ground + plate * 235).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    Image.fromarray(draw_sheet()).save(parser.parse_args().output, optimize=True)


if __name__ == "__main__":
    main()
