"""An estimate counts the pass that compares faces, and leaves nothing of a face behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from drawn_people import write_people
from drawn_recogniser import drawn_recogniser

from anon_batch.config import load_job
from anon_batch.errors import ConfigError
from anon_batch.estimate.cost import Prices, estimate_job
from anon_batch.estimate.measure import measure

STATED = {
    f"compliance.{name}": "stated"
    for name in ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention")
}


def test_the_pass_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people(tmp_path / "data", [[(1, 40)], [(2, 40)], [(3, 40)]])
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    keys = {
        "manifest": str(tmp_path / "data/m.parquet"),
        "output": str(tmp_path / "out"),
        "detect.detectors": ["drawn_people"],
        "anonymize.face.method": "swap",
        "identity.scope": "dataset",
        "identity.source": "cluster",
        "identity.embedder": str(drawn_recogniser(tmp_path / "drawn.onnx")),
    }
    with pytest.raises(ConfigError, match=r"compliance\.art9_basis"):
        measure(load_job(None, keys), 3, lambda text: None)
    config = load_job(None, {**keys, **STATED})
    found = measure(config, 3, lambda text: None)
    assert found.faces is not None
    assert found.faces.faces == 3
    whole = estimate_job(found, config, [1], Prices())
    assert whole.identify_worker_hours is not None
    assert 0 < whole.identify_worker_hours < whole.widths[0].worker_hours
    [chosen] = [layout for layout in whole.layouts if layout.chosen]
    without = estimate_job(
        measure(load_job(None, {**keys, "identity.scope": "none"}), 3, lambda text: None), config, [1], Prices()
    )
    [other] = [layout for layout in without.layouts if layout.chosen]
    assert chosen.requests.get == other.requests.get + 3 + 1  # each source again, and a part
    assert without.identify_worker_hours is None
    assert not (tmp_path / "out-ledger").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
