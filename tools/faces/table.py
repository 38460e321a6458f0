"""The figures of several variants side by side, with what they should reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = list[tuple[str, str, tuple[str, ...]]]  # title, limit, and the path of the figure

BASE: Rows = [
    ("AP kept, all", ">= 98 %", ("ap", "yunet_n", "labelled, all", "mean")),
    ("AP kept, from 16 px", "100 %", ("ap", "yunet_n", "labelled, from_16_px", "mean")),
    ("seam, photos", ".9 - 1.1", ("seam", "photos", "ratio")),
    ("seam, pairs", ".9 - 1.1", ("seam", "pairs", "ratio")),
    ("seam .03 outside, photos", "", ("seam", "photos", "outside 0.03")),
    ("seam .06 outside, photos", "", ("seam", "photos", "outside 0.06")),
    ("seam .09 outside, photos", "", ("seam", "photos", "outside 0.09")),
    ("probe, detector: all", "", ("probe", "detector", "all", "auc")),
    ("probe, detector: street, bare", "<= .75", ("probe", "detector", "street, bare", "auc")),
    ("probe, detector: pairs", "", ("probe", "detector", "pairs", "auc")),
    ("probe, detector: held", "", ("probe", "detector", "held", "auc")),
    ("probe, noise: all", "", ("probe", "noise", "all", "auc")),
    ("probe, noise: street, bare", "", ("probe", "noise", "street, bare", "auc")),
    ("ms a street face, with checks", "6 / 14", ("time", "street", "with_checks_ms")),
    ("ms a street face, alone", "", ("time", "street", "alone_ms")),
    ("ms a portrait, with checks", "", ("time", "portraits", "with_checks_ms")),
]
BY_EMBEDDER: Rows = [
    ("rank 1, original gallery", "<= 5.9 %", ("rank_1_original_gallery",)),
    ("rank 1, anonymized gallery, same key", "<= 15.7 %", ("rank_1_anonymized_gallery_same_key",)),
    ("rank 1, anonymized gallery, other key", "", ("rank_1_anonymized_gallery_other_key",)),
    ("cosine to own original", "", ("cosine_to_own_original",)),
    ("own less others", "<= .03", ("own_less_others",)),
    ("equal error rate, outputs", "", ("equal_error_rate",)),
    ("equal error rate, one seed", "<= 5 %: subject", ("equal_error_rate_of_one_seed",)),
]


def draw_table(runs: Path, names: Sequence[str]) -> str:
    """Return a table with a row for each figure and a column for each variant; "" where it was not measured."""
    figures = [_read(runs / name) for name in names]
    embedders = sorted({name for own in figures for name in own.get("pairs", {})})
    rows = list(BASE)
    for embedder in sorted({name for own in figures for name in own.get("frechet", {})}):
        rows.insert(2, (f"Frechet, {embedder}", "<= .28", ("frechet", embedder, "distance")))
    for embedder in embedders:
        rows += [(f"{embedder}: {title}", limit, ("pairs", embedder, *path)) for title, limit, path in BY_EMBEDDER]
    width = max(len(title) for title, _, _ in rows)
    wide = max(12, *(len(name) for name in names)) + 2
    lines = [f"{'':{width}}  {'':16}" + "".join(f"{name:>{wide}}" for name in names)]
    for title, limit, path in rows:
        cells = [_format(_value(own, path)) for own in figures]
        if any(cells):
            lines.append(f"{title:{width}}  {limit:16}" + "".join(f"{cell:>{wide}}" for cell in cells))
    return "\n".join(lines)


def _read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("figures", "time"):
        path = folder / f"{name}.json"
        if path.is_file():
            content = json.loads(path.read_text("utf-8"))
            found |= content if name == "figures" else {"time": content}
    return found


def _value(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = figures
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value if isinstance(value, float) else None


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 5 else f"{value:.1f}"
