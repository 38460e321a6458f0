"""A training goes on exactly where it stopped, and refuses what is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from drawn_faces import tiny_config
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from anon_batch.anonymize.faces.generator import load_generator, save_generator
from anon_batch.errors import ConfigError, StorageError
from anon_batch.train.checkpoint import FILENAME, load_average, read_notes


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / FILENAME)


def _run(trainer: Any, until: int | None = None) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    trainer.run(said.append, (lambda: False) if until is None else lambda: trainer.step >= until)
    return said


def test_stopping_changes_nothing(trainer: Any, tmp_path: Path) -> None:
    whole = _run(trainer(tmp_path / "whole"))
    first = trainer(tmp_path / "parts")
    begun = _run(first, until=3)
    assert first.step == 3
    second = trainer(tmp_path / "parts")
    assert (second.step, second.faces_seen) == (3, 6)
    ended = _run(second)

    once, parts = _tensors(tmp_path / "whole"), _tensors(tmp_path / "parts")
    assert set(once) == set(parts)
    assert {name.split("/")[0] for name in once} == {"generator", "average", "judges", "generator_steps", "judge_steps"}
    different = [name for name in once if not torch.equal(once[name], parts[name])]
    assert not different
    plain = [{k: v for k, v in line.items() if k != "faces_per_s"} for line in whole]
    assert plain == [{k: v for k, v in line.items() if k != "faces_per_s"} for line in begun + ended]
    assert [line["step"] for line in whole] == [1, 2, 3, 4, 4]
    assert read_notes(tmp_path / "parts")["faces_seen"] == "8"


def test_learns(trainer: Any, tmp_path: Path) -> None:
    """Shown one batch of faces that are their own donor again and again, the truth comes nearer."""
    only_truth = {"adversarial": 0, "truth": 1, "features": 0, "donor": 0, "colour": 0}
    begun = trainer(tmp_path, steps=100, own_share=1.0, weights=only_truth, generator_rate=1e-3)
    batch = begun._drawn(0)
    losses = [float(begun._learner.learn(batch, step)["truth"]) for step in range(40)]
    assert losses[-1] < 0.85 * losses[0]


def test_a_finished_training_writes_a_sheet_of_held_out_faces(trainer: Any, tmp_path: Path) -> None:
    said = _run(trainer(tmp_path, steps=2, sheet_steps=50))
    assert {"held_out_donor", "held_out_colour", "held_out_colour_of_composite"} <= set(said[-1])
    sheet = cv2.imread(str(tmp_path / "sheet-0000002.jpg"))
    assert sheet is not None
    assert sheet.shape == (3 * 128, 8 * 128, 3)
    assert sheet[:, : 4 * 128].std() > 20, "two held-out faces, each as it is and mirrored"
    assert sheet[:, 4 * 128 :].max() < 20


def test_average_is_what_is_exported(trainer: Any, tmp_path: Path) -> None:
    done = trainer(tmp_path, steps=2)
    _run(done)
    generator, notes = load_average(tiny_config(tmp_path, tmp_path, steps=2))
    assert notes["step"] == "2"
    for name, value in done.average.state_dict().items():
        assert torch.equal(value, generator.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 4}, "seed: 3 there, 4 here"),
        ({"channels": [8, 24]}, r"channels: \[8, 16\] there, \[8, 24\] here"),
    ],
)
def test_checkpoint_of_another_training(trainer: Any, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    _run(trainer(tmp_path, steps=1, sheet_steps=9))
    with pytest.raises(ConfigError, match=said):
        trainer(tmp_path, **changes)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _scribbled(path: Path) -> None:
    path.write_bytes(b"no safetensors")


def _without_a_tensor(path: Path) -> None:
    with safe_open(path, "pt") as file:
        notes = file.metadata()
    tensors = load_file(path)
    del tensors["judge_steps/0/exp_avg_sq"], tensors["judges/0.body.0.bias"]
    save_file(tensors, path, notes)


def _without_notes(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [_cut, _scribbled, _without_a_tensor, _without_notes])
def test_damaged_checkpoint(trainer: Any, tmp_path: Path, damage: Any) -> None:
    _run(trainer(tmp_path, steps=1, sheet_steps=9))
    damage(tmp_path / FILENAME)
    with pytest.raises(ConfigError, match=r"checkpoint\.safetensors cannot be read .*; remove it to begin anew"):
        trainer(tmp_path)


def test_divergence_leaves_the_last_checkpoint(trainer: Any, tmp_path: Path) -> None:
    _run(trainer(tmp_path, steps=1, sheet_steps=9))
    before = (tmp_path / FILENAME).read_bytes()
    with pytest.raises(ConfigError, match="diverged before step"):
        _run(trainer(tmp_path, steps=9, generator_rate=1e30, sheet_steps=99, log_steps=99))
    assert (tmp_path / FILENAME).read_bytes() == before


def test_output_that_is_gone(trainer: Any, tmp_path: Path) -> None:
    begun = trainer(tmp_path / "out", steps=1, sheet_steps=9, log_steps=9)
    begun._config = begun._config.model_copy(update={"output": tmp_path / "gone"})
    with pytest.raises(StorageError, match="cannot be written"):
        _run(begun)


def test_a_training_starts_from_weights(trainer: Any, tmp_path: Path) -> None:
    first = trainer(tmp_path / "first", steps=2)
    _run(first)
    export = tmp_path / "generator.safetensors"
    save_generator(first.average, str(export), {})
    second = trainer(tmp_path / "second", start=export)
    held = load_generator(export.read_bytes()).state_dict()
    assert all(torch.equal(value, held[name]) for name, value in second.average.state_dict().items())
    _run(second)
    assert any(not torch.equal(value, held[name]) for name, value in second.average.state_dict().items())
    with pytest.raises(ConfigError, match=r"start: .*channels"):
        trainer(tmp_path / "third", start=export, channels=(8, 24))
    with pytest.raises(ConfigError, match=r"start: .*nothing"):
        trainer(tmp_path / "fourth", start=tmp_path / "nothing")
