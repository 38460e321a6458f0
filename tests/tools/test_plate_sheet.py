from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tools.plate_sheet import draw_sheet

STORED = Path(__file__).parents[2] / "docs/plates.png"


def test_the_sheet_of_the_guide_shows_what_is_drawn_today():
    stored, drawn = np.asarray(Image.open(STORED).convert("RGB")), draw_sheet()
    assert stored.shape == drawn.shape
    assert np.abs(stored.astype(int) - drawn).mean() < 1
