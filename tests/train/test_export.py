"""What is exported: weights that the method can load, and a card without gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from drawn_faces import tiny_config
from safetensors import safe_open

from anon_batch import __version__
from anon_batch.anonymize.faces.generator import Generator, Shape, load_generator
from anon_batch.errors import StorageError
from anon_batch.train.export import CARD, Source, count_faces, export
from anon_batch.train.metrics import FILENAME, Journal, last_held_out, read_metrics

SOURCES = [Source("faces/a", 90, 10), Source("s3://b/c.parquet", 900, 101)]
MEASURED = {"held_out_donor": 0.0123, "held_out_colour": 0.1297, "held_out_colour_of_composite": 0.1277}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(Shape(channels=(8, 16)))


def test_weights(generator: Generator, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path)
    path = export(config, generator, 1200, 19_200, SOURCES)
    with safe_open(path, "pt") as file:
        notes = file.metadata()
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    del notes["shape"]
    assert notes == {"seed": "3", "steps": "1200", "faces_seen": "19200", "faces": "990", "anon_batch": __version__}
    loaded = load_generator(path.read_bytes())
    assert loaded.shape == generator.shape
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert {p.name for p in tmp_path.iterdir()} == {"generator.safetensors", CARD}


def _card(folder: Path) -> str:
    text = (folder / CARD).read_text()
    assert not re.search(r"\{\{|\}\}|\{%|None|nan|Undefined", text)
    assert not re.search(r"\|\s*\|\s*$", text.replace("| | |", ""), re.MULTILINE), "an empty cell"
    return text


def test_card(generator: Generator, tmp_path: Path) -> None:
    Journal(tmp_path, 0).write({"step": 1000, **MEASURED})
    config = tiny_config(tmp_path, tmp_path, steps=2000, faces_note="Drawn by a program.")
    export(config, generator, 1200, 19_200, SOURCES)
    text = _card(tmp_path)
    for said in (
        "1,200 of 2,000",
        "19,200, 19.4 times each",
        "| `faces/a` | 90 | 10 |",
        "| all | 990 | 111 |",
        "0.0123",
        "0.1297",
        "0.1277",
        "At step 1,000",
        "Drawn by a program.",
        __version__,
        "channels 8, 16",
        "0.0002",
        "0.999",
        "| seed | 3 |",
    ):
        assert said in text, said
    assert "not stated" not in text


def test_card_of_what_is_not_known(generator: Generator, tmp_path: Path) -> None:
    export(tiny_config(tmp_path, tmp_path), generator, 4, 8, SOURCES)
    text = _card(tmp_path)
    assert "| steps | 4 |" in text
    assert "not stated (key `faces_note`" in text
    assert "Not measured: the training ended before its first sheet" in text


def test_folder_that_is_not_there(generator: Generator, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path).model_copy(update={"output": tmp_path / "gone"})
    with pytest.raises(StorageError, match="cannot be written"):
        export(config, generator, 4, 8, SOURCES)


def test_counts(faces: Path) -> None:
    assert count_faces(["somewhere"], [faces]) == [Source("somewhere", 5, 2)]


def test_journal_has_each_step_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    for step in (1, 2, 3):
        journal.write({"step": step, "truth": step / 10})
    journal.write({"step": 3, **MEASURED})
    with (tmp_path / FILENAME).open("a") as file:
        file.write('{"step": 4, "tru')  # killed while it wrote
    Journal(tmp_path, 2).write({"step": 3, "truth": 9.0})
    assert [(line["step"], line["truth"]) for line in read_metrics(tmp_path)] == [(1, 0.1), (2, 0.2), (3, 9.0)]
    assert last_held_out(tmp_path, 3) == {}
    journal.write({"step": 5, **MEASURED})
    assert last_held_out(tmp_path, 4) == {}
    assert last_held_out(tmp_path, 5) == {"step": 5, **MEASURED}
