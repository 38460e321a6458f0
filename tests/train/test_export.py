"""The exported weights load into the method, and the card has no gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from drawn_faces import tiny_config
from safetensors import safe_open

from anon_batch import __version__
from anon_batch.anonymize.faces.generator import Generator, GeneratorShape, load_generator
from anon_batch.errors import StorageError
from anon_batch.train.export import CARD, FaceSource, count_faces, export
from anon_batch.train.metrics import FILENAME, MetricsFile, last_held_out, read_metrics

SOURCES = [FaceSource("faces/a", 90, 10), FaceSource("s3://b/c.parquet", 900, 101)]
MEASURED = {
    "held_out_truth": 0.0456,
    "held_out_truth_of_composite": 0.0478,
    "held_out_donor": 0.0123,
    "held_out_donor_of_composite": 0.0,
    "held_out_colour": 0.1297,
    "held_out_colour_of_composite": 0.1277,
}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorShape(channels=(8, 16)))


def test_exported_weights_are_float16_with_metadata(generator: Generator, tmp_path: Path) -> None:
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


def test_card_lists_data_recipe_and_measures(generator: Generator, tmp_path: Path) -> None:
    MetricsFile(tmp_path, 0).write({"step": 1000, **MEASURED})
    config = tiny_config(tmp_path, tmp_path, steps=2000, faces_note="Drawn by a program.")
    export(config, generator, 1200, 19_200, SOURCES)
    text = _card(tmp_path)
    for expected in (
        "1,200 of 2,000 configured",
        "19,200, 19.4 times each",
        "| `faces/a` | 90 | 10 |",
        "| total | 990 | 111 |",
        "| 0.0478 | 0.0456 |",
        "| 0.0 | 0.0123 |",
        "| 0.1277 | 0.1297 |",
        "adversarial",
        "At step 1,000",
        "Drawn by a program.",
        __version__,
        "channels 8, 16",
        "0.0002",
        "0.999",
        "| seed | 3 |",
    ):
        assert expected in text, expected
    assert "not stated" not in text


def test_card_of_a_smooth_generator_says_so(generator: Generator, tmp_path: Path) -> None:
    weights = {"adversarial": 0, "features": 0, "low": 2.5}
    smooth = Generator(GeneratorShape((8, 16), smooth=True))
    export(tiny_config(tmp_path, tmp_path, smooth=True, weights=weights), smooth, 4, 8, SOURCES)
    text = _card(tmp_path)
    assert "by a smooth field" in text
    assert "adversarial" not in text
    assert "own donors | 2.5 |" in text
    assert text.startswith("# Generator of anon-batch\n\nChanges light and colour")


def test_card_says_what_is_not_stated_and_not_measured(generator: Generator, tmp_path: Path) -> None:
    export(tiny_config(tmp_path, tmp_path), generator, 4, 8, SOURCES)
    text = _card(tmp_path)
    assert "| steps | 4 |" in text
    assert "are not stated (key `faces_note`" in text
    assert "Not measured: the training ended before its first sample sheet" in text


def test_missing_output_folder_is_a_storage_error(generator: Generator, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path).model_copy(update={"output": tmp_path / "gone"})
    with pytest.raises(StorageError, match="cannot write the generator"):
        export(config, generator, 4, 8, SOURCES)


def test_count_faces_of_each_source(faces: Path) -> None:
    assert count_faces(["somewhere"], [faces]) == [FaceSource("somewhere", 5, 2)]


def test_metrics_file_has_each_step_once(tmp_path: Path) -> None:
    metrics_file = MetricsFile(tmp_path, 0)
    for step in (1, 2, 3):
        metrics_file.write({"step": step, "truth": step / 10})
    metrics_file.write({"step": 3, **MEASURED})
    with (tmp_path / FILENAME).open("a") as file:
        file.write('{"step": 4, "tru')  # killed while it wrote
    MetricsFile(tmp_path, 2).write({"step": 3, "truth": 9.0})
    assert [(line["step"], line["truth"]) for line in read_metrics(tmp_path)] == [(1, 0.1), (2, 0.2), (3, 9.0)]
    assert last_held_out(tmp_path, 3) == {}
    metrics_file.write({"step": 5, **MEASURED})
    assert last_held_out(tmp_path, 4) == {}
    assert last_held_out(tmp_path, 5) == {"step": 5, **MEASURED}
