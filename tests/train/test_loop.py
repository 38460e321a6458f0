"""A training resumes exactly, and refuses a damaged checkpoint or one of another training."""

from __future__ import annotations

import shutil
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
    lines: list[dict[str, Any]] = []
    trainer.run(lines.append, (lambda: False) if until is None else lambda: trainer.step >= until)
    return lines


@pytest.fixture(scope="module")
def one_step(trainer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint of one step; tests copy it."""
    folder = tmp_path_factory.mktemp("one_step")
    _run(trainer(folder, steps=1, sheet_steps=9))
    return folder


@pytest.fixture
def checkpointed(one_step: Path, tmp_path: Path) -> Path:
    shutil.copy(one_step / FILENAME, tmp_path)
    return tmp_path


def test_interruption_does_not_change_the_result(trainer: Any, tmp_path: Path) -> None:
    whole = _run(trainer(tmp_path / "whole"))
    first = trainer(tmp_path / "parts")
    begin = _run(first, until=3)
    assert first.step == 3
    second = trainer(tmp_path / "parts")
    assert (second.step, second.faces_seen) == (3, 6)
    end = _run(second)

    once, parts = _tensors(tmp_path / "whole"), _tensors(tmp_path / "parts")
    assert set(once) == set(parts)
    names = {"generator", "average", "discriminators", "generator_optimizer", "discriminator_optimizer"}
    assert {name.split("/")[0] for name in once} == names
    different = [name for name in once if not torch.equal(once[name], parts[name])]
    assert not different
    plain = [{k: v for k, v in line.items() if k != "faces_per_s"} for line in whole]
    assert plain == [{k: v for k, v in line.items() if k != "faces_per_s"} for line in begin + end]
    assert [line["step"] for line in whole] == [1, 2, 3, 4, 4]
    assert read_notes(tmp_path / "parts")["faces_seen"] == "8"

    sheet = cv2.imread(str(tmp_path / "whole/sheet-0000004.jpg"))
    measures = {f"held_out_{name}" for name in ("truth", "donor", "colour")}
    assert measures | {f"{name}_of_composite" for name in measures} <= set(whole[-1])
    assert sheet is not None
    assert sheet.shape == (3 * 64, 8 * 64, 3)
    assert sheet[:, : 4 * 64].std() > 20, "two held-out faces, each with another donor and with itself"
    assert sheet[:, 4 * 64 :].max() < 20


def test_loss_falls_on_a_repeated_batch(trainer: Any, tmp_path: Path) -> None:
    only_truth = {"adversarial": 0, "truth": 1, "features": 0, "donor": 0, "colour": 0}
    training = trainer(tmp_path, steps=100, own_share=1.0, weights=only_truth, generator_rate=1e-3)
    batch = training._batch(0)
    losses = [float(training._train_step.run(batch, step)["truth"]) for step in range(40)]
    assert losses[-1] < 0.85 * losses[0]


def test_a_smooth_generator_learns_without_discriminators(trainer: Any, tmp_path: Path) -> None:
    only_truth = {"adversarial": 0, "truth": 1, "low": 1, "features": 0, "donor": 0, "colour": 0}
    training = trainer(tmp_path, steps=100, own_share=1.0, weights=only_truth, generator_rate=3e-3, smooth=True)
    before = {
        name: value.clone() for name, value in training._train_step.networks["discriminators"].state_dict().items()
    }
    batch = training._batch(0)
    losses = [training._train_step.run(batch, step) for step in range(40)]
    assert set(losses[0]) == {"truth", "low", "donor", "colour"}
    assert float(losses[-1]["low"]) < 0.85 * float(losses[0]["low"])
    after = training._train_step.networks["discriminators"].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_average_is_exported(trainer: Any, checkpointed: Path) -> None:
    generator, notes = load_average(tiny_config(checkpointed, checkpointed, steps=2))
    assert notes["step"] == "1"
    average = trainer(checkpointed, steps=2).average.state_dict()
    assert all(torch.equal(value, generator.state_dict()[name]) for name, value in average.items())
    stored = _tensors(checkpointed)
    assert any(not torch.equal(value, stored[f"generator/{name}"]) for name, value in average.items())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 4}, "seed: 3 in the checkpoint, 4 in the configuration"),
        ({"smooth": True}, "smooth: False in the checkpoint, True in the configuration"),
        ({"channels": [8, 24]}, r"channels: \[8, 16\] in the checkpoint, \[8, 24\] in the configuration"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    trainer: Any, checkpointed: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        trainer(checkpointed, **changes)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no safetensors")


def _remove_tensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        notes = file.metadata()
    tensors = load_file(path)
    del tensors["discriminator_optimizer/0/exp_avg_sq"], tensors["discriminators/patches.body.0.bias"]
    save_file(tensors, path, notes)


def _remove_metadata(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [_truncate, _overwrite, _remove_tensors, _remove_metadata])
def test_a_damaged_checkpoint_is_refused(trainer: Any, checkpointed: Path, damage: Any) -> None:
    damage(checkpointed / FILENAME)
    with pytest.raises(ConfigError, match=r"cannot read checkpoint .*\.safetensors .*; remove it to start from step 0"):
        trainer(checkpointed)


def test_divergence_keeps_the_last_checkpoint(trainer: Any, checkpointed: Path) -> None:
    before = (checkpointed / FILENAME).read_bytes()
    with pytest.raises(ConfigError, match="diverged before step"):
        _run(trainer(checkpointed, steps=9, generator_rate=1e30, sheet_steps=99, log_steps=99))
    assert (checkpointed / FILENAME).read_bytes() == before


def test_a_removed_output_folder_is_a_storage_error(trainer: Any, checkpointed: Path) -> None:
    training = trainer(checkpointed, steps=1, sheet_steps=9, log_steps=9)
    training._config = training._config.model_copy(update={"output": checkpointed / "gone"})
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        training.save()


def test_a_training_starts_from_given_weights(trainer: Any, checkpointed: Path, tmp_path: Path) -> None:
    export = tmp_path / "generator.safetensors"
    save_generator(trainer(checkpointed).average, str(export), {})
    training = trainer(tmp_path / "second", start=export)
    start = load_generator(export.read_bytes()).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in training.average.state_dict().items())
    _run(training, until=2)
    assert any(not torch.equal(value, start[name]) for name, value in training.average.state_dict().items())
    with pytest.raises(ConfigError, match=r"start: .* has channels \(8, 16\), the training \(8, 24\)"):
        trainer(tmp_path / "third", start=export, channels=(8, 24))
    with pytest.raises(ConfigError, match=r"start: .*nothing"):
        trainer(tmp_path / "fourth", start=tmp_path / "nothing")
