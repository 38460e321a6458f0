"""Contact sheets: each face a block of cells at natural size, the original and what variants made of it.

A sheet holds originals: keep it private.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from anon_batch.evaluate.blind_sample import natural_cell
from anon_batch.records import PixelArray
from tools.faces.categories import Chooser, Face
from tools.faces.runs import Runs
from tools.faces.sets import read_pixels

ORIGINAL = "original"
TINY_PX = 40  # longer side below which a face is shown at twice its size
PAGE_PX = (1240, 960)  # width and height that most viewers show without scaling
GAP_PX, CAPTION_PX = 4, 12
BACKGROUND = (40, 40, 40)


class Block(NamedTuple):
    """One face on a sheet.

    Args:
        number: on the sheet, from 1.
        columns: names of what the cells show, the reference left out.
        image: (h, w, 3) uint8.
    """

    number: int
    columns: tuple[str, ...]
    image: PixelArray


def draw(
    runs: Runs,
    category: str,
    names: Sequence[str],
    target: Path,
    *,
    count: int,
    seed: int = 0,
    reference: bool = True,
    key: Path | None = None,
) -> list[Path]:
    """Write pages TARGET-1.png, TARGET-2.png, ... and return them.

    Args:
        runs: the outputs.
        category: see `categories`.
        names: variants, or `original`, in this order.
        target: address of the pages without number and suffix.
        count: most faces.
        seed: of the choice of faces, and of the columns' order.
        reference: whether each face's first cell is the original.
        key: where to write which column shows what; it hides the names and shuffles the columns of each face.
    """
    known = next(name for name in names if name != ORIGINAL)
    faces = Chooser(runs, known).choose(category, count, seed)
    generator = np.random.default_rng(seed)
    blocks = []
    for number, face in enumerate(faces, 1):
        columns = tuple(names)
        if key is not None:
            columns = tuple(columns[index] for index in generator.permutation(len(columns)))
        blocks.append(_block(runs, number, face, columns, reference))
    if key is not None:
        answers = {f"{block.number}{chr(97 + at)}": name for block in blocks for at, name in enumerate(block.columns)}
        key.write_text(json.dumps(answers, indent=1), "utf-8")
    shown = "columns in random order" if key is not None else ", ".join(names)
    title = f"{category}: {'original, then ' if reference else ''}{shown}. Contains originals: keep it private."
    pages = [_page(rows, title) for rows in _paginate(blocks)]
    paths = [target.with_name(f"{target.name}-{number}.png") for number in range(1, len(pages) + 1)]
    for path, page in zip(paths, pages, strict=True):
        page.save(path)
    return paths


def _block(runs: Runs, number: int, face: Face, columns: Sequence[str], reference: bool) -> Block:
    cells = []
    for name in ([ORIGINAL] if reference else []) + list(columns):
        pixels = read_pixels(face.source) if name == ORIGINAL else runs.outputs(name, face.own_set).pixels(face.source)
        cells.append(cell(pixels, face))
    gap = np.full((cells[0].shape[0], 2, 3), BACKGROUND, np.uint8)
    row = np.concatenate([part for own in cells for part in (own, gap)][:-1], axis=1)
    image = Image.new("RGB", (row.shape[1], row.shape[0] + CAPTION_PX), BACKGROUND)
    image.paste(Image.fromarray(row), (0, CAPTION_PX))
    pen, width = ImageDraw.Draw(image), cells[0].shape[1] + 2
    for at in range(len(cells)):
        letter = at - int(reference)
        text = f"{number}{chr(97 + letter)}" if letter >= 0 else f"{number}"
        pen.text((at * width + 1, 0), text, fill=(255, 255, 0))
    return Block(number, tuple(columns), np.asarray(image))


def cell(pixels: PixelArray, face: Face) -> PixelArray:
    """Return a face with its surroundings inside the image, at natural size, or twice as large if it is tiny."""
    inside = natural_cell(pixels, face.box)
    if face.side >= TINY_PX:
        return inside
    return np.asarray(cv2.resize(inside, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR), np.uint8)


def _paginate(blocks: Sequence[Block]) -> list[list[list[Block]]]:
    """Return pages of rows of blocks, none wider or higher than a page if a block alone is not."""
    pages: list[list[list[Block]]] = []
    height = 0
    row: list[Block] = []
    rows: list[list[Block]] = []

    def finish_row() -> None:
        nonlocal height, row, rows
        needed = max(block.image.shape[0] for block in row) + GAP_PX
        if rows and height + needed > PAGE_PX[1] - 2 * CAPTION_PX:
            pages.append(rows)
            rows, height = [], 0
        rows.append(row)
        height, row = height + needed, []

    for block in blocks:
        if row and sum(own.image.shape[1] + GAP_PX for own in (*row, block)) > PAGE_PX[0]:
            finish_row()
        row.append(block)
    if row:
        finish_row()
    return [*pages, rows] if rows else pages


def _page(rows: Sequence[Sequence[Block]], title: str) -> Image.Image:
    width = max(sum(block.image.shape[1] + GAP_PX for block in row) for row in rows)
    height = sum(max(block.image.shape[0] for block in row) + GAP_PX for row in rows)
    page = Image.new("RGB", (max(width, 500), height + CAPTION_PX + GAP_PX))
    ImageDraw.Draw(page).text((2, 1), title, fill=(255, 255, 255))
    top = CAPTION_PX + GAP_PX
    for row in rows:
        left = 0
        for block in row:
            page.paste(Image.fromarray(block.image), (left, top))
            left += block.image.shape[1] + GAP_PX
        top += max(block.image.shape[0] for block in row) + GAP_PX
    return page
