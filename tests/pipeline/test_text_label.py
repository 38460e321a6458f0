"""Text in a run: found, hidden by each method that is for it, and counted under its label."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from drawn_text import TEXT, name_tag
from PIL import Image
from pipeline_fixtures import FACES, job, release, verdict, write_dataset

from anon_batch.storage import Storage

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the extra `text` is not installed"
)


@pytest.mark.parametrize("method", ["solid", "pixelate", "blur"])
def test_text_is_hidden_and_counted(tmp_path: Path, method: str) -> None:
    write_dataset(str(tmp_path), ["tag.png", "none.png"], faces=pa.array([[], []], FACES))
    data = io.BytesIO()
    Image.fromarray(name_tag()).save(data, "PNG")
    Storage().put(f"{tmp_path}/src/tag.png", data.getvalue())
    run = release(job(str(tmp_path), detect__detectors=["text"], anonymize__text__method=method))
    assert not verdict(run).faults
    summary = run.release.read_stats().summary
    assert {label: own["methods"] for label, own in summary["labels"].items()} == {"text": {method: 1}}
    shown = np.asarray(Image.open(io.BytesIO(Storage().read(f"{run.release.uri}/images/tag.png"))).convert("RGB"))
    x1, y1, x2, y2 = TEXT
    changed = (shown != name_tag()).any(axis=2)[y1:y2, x1:x2]
    assert changed.mean() > (0.95 if method == "solid" else 0.4)
    outside = np.ones(shown.shape[:2], np.bool_)
    outside[y1 - 30 : y2 + 30, x1 - 30 : x2 + 30] = False
    assert np.array_equal(shown[outside], name_tag()[outside])
