"""Pictures for the benchmark's pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import Source


@pytest.fixture
def photos(tmp_path: Path) -> list[Source]:
    """Smooth pictures of two sizes, without a face and without a label."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        ramp = np.linspace(0, 200, 64 + 32 * (number % 2), dtype=np.uint8)
        pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, ::-1], np.uint8(40 * number)), axis=2)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number}.jpg")
    return [Source(path, None) for path in sorted(folder.iterdir())]
