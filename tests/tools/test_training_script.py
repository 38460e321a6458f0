"""One command trains the encoder, builds the bank with it and trains the generator on that bank."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import names, write_faces
from safetensors import safe_open

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.encoder import SIDE, SurroundingsEncoder
from anon_batch.anonymize.faces.generator import load_generator

ROOT = Path(__file__).parents[2]
HEADER = "file grade age sex skin hair glasses beard mouth pose light fringe"
LABELS = "1 young f 2 brown n n closed front even n"
TINY = (
    "steps=1",
    "batch_size=2",
    "views=1",
    "side=64",
    "channels=[8, 16]",
    "precision=fp32",
    "device=cpu",
    "threads=1",
)


@pytest.mark.full
def test_one_command_makes_encoder_bank_and_generator(tmp_path):
    for number, name in enumerate(("sfhq_t2i", "sdfd", "sfhq_sg2")):
        write_faces(tmp_path / "faces" / name, 4, seed=number)
    table = tmp_path / "donors.tsv"
    rows = [HEADER, *(f"{name} {LABELS}" for name in names(4)[:4])]
    table.write_text("\n".join(rows).replace(" ", "\t") + "\n", encoding="utf-8")
    settings = {"PYTHON": sys.executable, "MINUTES": "0.001", "DONORS": str(table), "PYTHONPATH": str(ROOT)}
    tiny = [part for change in TINY for part in ("--set", change)]
    done = subprocess.run(
        ["sh", "jobs/training/everything.sh", str(tmp_path / "faces"), str(tmp_path / "trained"), *tiny],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "trained"
    bank = DonorBank((made / "donors.safetensors").read_bytes())
    assert len(bank) == 2 * 4
    lab = np.full((SIDE, SIDE, 3), 50, np.float32)
    assert SurroundingsEncoder(bank.tensors).encode(lab, np.ones((SIDE, SIDE), np.bool_)).shape == (48,)
    with safe_open(made / "donors.safetensors", "np") as file:
        assert "encoder.safetensors" in file.metadata()["inputs"]
    assert load_generator((made / "generator/generator.safetensors").read_bytes()).shape.channels == (8, 16)
    assert "donors.safetensors" in (made / "generator/MODEL_CARD.md").read_text(encoding="utf-8")
