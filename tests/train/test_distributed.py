"""Several processes train as one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_faces import tiny_config, tiny_settings

from anon_batch.errors import ConfigError
from anon_batch.train import distributed
from anon_batch.train.checkpoint import FILENAME, read_notes
from anon_batch.train.distributed import Processes, joined

CHILD = """
import hashlib, json, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from drawn_faces import model
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.train.config import TrainConfig
from anon_batch.train.distributed import joined
from anon_batch.train.loop import Trainer
torch.set_num_threads(1)
with joined("cpu") as here:
    trainer = Trainer(TrainConfig(**json.loads(sys.argv[1])), DonorBank(model("donors")), model("centerface"), here)
    said = []
    stop_at = 3 if here.rank == 1 else 99  # one process is asked to stop, both do
    trainer.run(said.append, lambda: trainer.step >= stop_at)
    digest = hashlib.sha256()
    for network in trainer._learner.networks.values():
        for name, value in sorted(network.state_dict().items()):
            digest.update(value.contiguous().numpy().tobytes())
    print(json.dumps({"step": trainer.step, "seen": trainer.faces_seen, "said": len(said), "weights": digest.hexdigest(),
                      "batch": float(trainer._drawn(0).latent.sum()), "any": here.any(here.rank == 1)}))
left = [thread for thread in Path("/proc/self/task").glob("*/comm") if "gloo" in thread.read_text()]
assert not left, "threads of the group that has been left abort the process at its end"
"""


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_two_processes_keep_equal_weights(faces: Path, tmp_path: Path) -> None:
    settings = json.dumps(tiny_settings(faces, tmp_path, steps=5))
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": "2",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, settings],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [child.communicate(timeout=120) for child in started]
    assert [child.returncode for child in started] == [0, 0], [stderr for _, stderr in ended]
    first, second = (json.loads(stdout.splitlines()[-1]) for stdout, _ in ended)
    assert first["weights"] == second["weights"]
    assert first["batch"] != second["batch"], "each process has faces of its own"
    assert (first["step"], second["step"]) == (3, 3)
    assert (first["said"], second["said"]) == (3, 0)
    assert first["seen"] == second["seen"] == 3 * 2 * 2
    assert first["any"] is second["any"] is True
    assert read_notes(tmp_path) == {"step": "3", "faces_seen": "12", "channels": "[8, 16]", "seed": "3"}
    assert (tmp_path / FILENAME).is_file()


def test_gradients_are_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes the other of which has thrice these gradients."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2))
    idle = torch.nn.Linear(1, 1)
    for number, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, float(number))
    network[0].weight.grad = network[0].weight.grad.to(memory_format=torch.channels_last)  # type: ignore[union-attr]
    monkeypatch.setattr(distributed.torch.distributed, "all_reduce", lambda values: values.mul_(4))
    Processes(0, 2, torch.device("cpu")).average_gradients(torch.nn.ModuleList([network, idle]))
    assert [float(p.grad.mean()) for p in network.parameters() if p.grad is not None] == [0.0, 2.0, 4.0, 6.0]
    assert idle.weight.grad is None


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as here:
        assert here == Processes(0, 1, torch.device("cpu"))
        assert here.first
        assert here.any(True)
        assert not here.any(False)


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device; use cpu or auto"), joined("cuda"):
        pass
    with joined("auto") as here:
        assert here.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda(faces: Path, tmp_path: Path) -> None:
    from drawn_faces import model

    from anon_batch.anonymize.faces.donors import DonorBank
    from anon_batch.train.loop import Trainer

    config = tiny_config(faces, tmp_path, steps=8, precision="bf16", device="cuda")
    with joined("cuda") as here:
        trainer = Trainer(config, DonorBank(model("donors")), model("centerface"), here)
        trainer.run(lambda metrics: None, lambda: trainer.step >= 4)
        again = Trainer(config, DonorBank(model("donors")), model("centerface"), here)
        assert again.step == 4
        again.run(lambda metrics: None)
        assert again.step == 8
