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
from anon_batch.train.checkpoint import FILENAME, read_notes
from anon_batch.train.distributed import Processes, joined_processes

CHILD = """
import hashlib, json, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from drawn_faces import model
from anon_batch.train.config import TrainConfig
from anon_batch.train.distributed import joined_processes
from anon_batch.train.loop import Trainer
torch.set_num_threads(1)
with joined_processes("cpu") as here:
    torch.manual_seed(here.rank)
    linear = torch.nn.Linear(3, 1, bias=False)
    here.parallel(linear)(torch.full((1, 3), float(1 + 2 * here.rank))).sum().backward()  # alone: gradients 1 and 3
    parts = TrainConfig(**json.loads(sys.argv[1])), model("donors"), model("centerface"), here, lambda text: None
    trainer = Trainer(*parts)
    lines = []
    stop_at = 3 if here.rank == 1 else 99  # one process is asked to stop, and both stop
    trainer.run(lines.append, lambda: trainer.step >= stop_at)
    def digest(trainer):
        digest = hashlib.sha256()
        for network in trainer._train_step.networks.values():
            for name, value in sorted(network.state_dict().items()):
                digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()
    weights = digest(trainer)
    here.wait()
    resumed = Trainer(*parts)
    resumed_at, resumed_weights = resumed.step, digest(resumed)
    resumed.run(lines.append, lambda: resumed.step >= 4)
    print(json.dumps({"step": trainer.step, "seen": trainer.faces_seen, "lines": len(lines), "weights": weights,
                      "resumed": [resumed_at, resumed.step], "resumed_weights": [resumed_weights, digest(resumed)],
                      "batch": float(trainer._batch(0).latent.sum()), "any": here.any(here.rank == 1),
                      "initial": linear.weight.tolist(), "gradient": linear.weight.grad.tolist()}))
left = [thread for thread in Path("/proc/self/task").glob("*/comm") if "gloo" in thread.read_text()]
assert not left, "threads of a left process group abort the process at exit"
"""


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _run_two(settings: str) -> list[dict[str, object]]:
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": "2",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, settings],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], [stderr for _, stderr in outputs]
    return [json.loads(stdout.splitlines()[-1]) for stdout, _ in outputs]


@pytest.mark.full
def test_two_processes_keep_equal_weights(faces: Path, tmp_path: Path) -> None:
    first, second = _run_two(json.dumps(tiny_settings(faces, tmp_path, steps=5)))
    assert first["weights"] == second["weights"]
    assert first["batch"] != second["batch"], "each process has faces of its own"
    assert (first["step"], second["step"]) == (3, 3)
    assert (first["lines"], second["lines"]) == (5, 0), "four steps and one sheet, on the first process"
    assert first["resumed"] == second["resumed"] == [3, 4]
    assert first["resumed_weights"] == second["resumed_weights"]
    assert first["resumed_weights"][0] == first["weights"] != first["resumed_weights"][1]
    assert first["seen"] == second["seen"] == 3 * 2 * 2
    assert first["any"] is second["any"] is True
    assert first["initial"] == second["initial"]
    assert first["gradient"] == second["gradient"] == [[2.0, 2.0, 2.0]]
    marks = {"channels": "[8, 16]", "seed": "3", "side": "64", "smooth": "False"}
    assert read_notes(tmp_path) == {"step": "4", "faces_seen": "16", **marks}
    assert (tmp_path / FILENAME).is_file()


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    network = torch.nn.Linear(1, 1)
    with joined_processes("cpu") as here:
        assert here == Processes(0, 1, torch.device("cpu"))
        assert here.is_first
        assert here.any(True)
        assert not here.any(False)
        assert here.parallel(network) is network


def test_missing_cuda_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device; use cpu or auto"), joined_processes("cuda"):
        pass
    with joined_processes("auto") as here:
        assert here.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda(faces: Path, tmp_path: Path) -> None:
    from drawn_faces import model

    from anon_batch.anonymize.faces.donors import DonorBank
    from anon_batch.train.loop import Trainer

    config = tiny_config(faces, tmp_path, steps=8, precision="bf16", device="cuda")
    with joined_processes("cuda") as here:
        trainer = Trainer(config, DonorBank(model("donors")), model("centerface"), here)
        trainer.run(lambda metrics: None, lambda: trainer.step >= 4)
        again = Trainer(config, DonorBank(model("donors")), model("centerface"), here)
        assert again.step == 4
        again.run(lambda metrics: None)
        assert again.step == 8
