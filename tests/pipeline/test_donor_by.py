"""What chooses the donor: `donor_by: subject` replaces the same faces as `surroundings`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anon_batch import Anonymizer
from anon_batch.anonymize.faces.retrieve import Retrieval
from anon_batch.imaging.source import SourceImage

SAMPLE = Path(__file__).parents[2] / "manifests/sample"
NAMES = [name for name, boxes in json.loads((SAMPLE / "faces.json").read_text("utf-8")).items() if boxes]


def replace_faces(method, donor_by, names, monkeypatch):
    """Return outcomes, and the donors' images in order."""
    donors = []
    for name in ("choose", "choose_by_seed"):
        choose = getattr(Retrieval, name)

        def watch(self, faces, seeds, choose=choose):
            made = choose(self, faces, seeds)
            donors.extend(choice.donor // 2 for choice in made)
            return made

        monkeypatch.setattr(Retrieval, name, watch)
    policy = {"face": {"method": method}, "options": {method: {"donor_by": donor_by}}}
    anonymizer = Anonymizer(policy=policy, key=bytes(32))
    outcomes = []
    for name in names:
        pixels = np.asarray(Image.open(SAMPLE / "photos" / name).convert("RGB"))
        outcomes += anonymizer.process([SourceImage.from_array(name, pixels)])
    monkeypatch.undo()
    return outcomes, donors


@pytest.mark.parametrize("method", ["swap", "gan"])
def test_by_subject_replaces_the_faces_that_surroundings_do(method, monkeypatch):
    outcomes, donors = replace_faces(method, "surroundings", NAMES[:6], monkeypatch)
    others, by_subject = replace_faces(method, "subject", NAMES[:6], monkeypatch)
    assert [outcome.result.methods for outcome in outcomes] == [outcome.result.methods for outcome in others]
    assert {name for outcome in outcomes for name in outcome.result.methods.values()} == {method}
    assert donors != by_subject
