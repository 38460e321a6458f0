"""`anon-batch train`: from a file to weights, interrupted, resumed, in several processes, and with wrong input."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from drawn_faces import tiny_settings, write_faces
from releases import start_cli

from anon_batch import cli
from anon_batch.anonymize.faces.generator import load_generator
from anon_batch.cli.progress import TrainingProgress
from anon_batch.cli.train import StopRequests
from anon_batch.errors import StoppedError, TerminatedError
from anon_batch.train.checkpoint import FILENAME, read_notes, save_checkpoint
from anon_batch.train.config import load_training
from anon_batch.train.metrics import read_metrics


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "drawn", 3)


@pytest.fixture
def training(faces: Path, tmp_path: Path) -> Any:
    """Writes a training file; returns its path."""

    def write(**changes: Any) -> str:
        path = tmp_path / "training.yaml"
        path.write_text(yaml.safe_dump(tiny_settings(faces, tmp_path / "out", **changes)))
        return str(path)

    return write


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Exit code, output, errors of the entry point itself."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", "train", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, " ".join(said.err.split())

    return call


def _steps(folder: Path) -> list[int]:
    return [line["step"] for line in read_metrics(folder) if "truth" in line]


def test_trains_exports_goes_on(main: Any, training: Any, tmp_path: Path) -> None:
    out, path = tmp_path / "out", training(steps=2)
    code, said, progress = main(path)
    assert (code, said) == (0, f"step 2: {out}/generator.safetensors, model card beside it\n"), progress
    assert "3 training faces, 2 held out; 1 process on cpu" in progress
    assert "starting at step 0 of 2" in progress
    assert "2/2 steps (100.0 %), " in progress
    assert "held out colour of composite" in progress
    assert load_generator((out / "generator.safetensors").read_bytes()).shape.channels == (8, 16)
    assert "| steps | 2 |" in (out / "MODEL_CARD.md").read_text()
    assert load_training(out / "training.yaml", {}) == load_training(Path(path), {})

    code, said, progress = main(path, "--steps", "4", "--set", "weights.truth=2")
    assert code == 0, progress
    assert "resuming at step 2 of 4" in progress
    assert _steps(out) == [1, 2, 3, 4]
    card = (out / "MODEL_CARD.md").read_text()
    assert "| steps | 4 |" in card
    assert "| 2.0 |" in card
    assert {p.name for p in out.iterdir()} == {
        "training.yaml",
        FILENAME,
        "metrics.jsonl",
        "generator.safetensors",
        "MODEL_CARD.md",
        "sheet-0000002.jpg",
        "sheet-0000004.jpg",
        "composites",
    }

    (out / "generator.safetensors").unlink()
    checkpoint = (out / FILENAME).read_bytes()
    for arguments in (["--export-only"], []):  # a training that is done is only exported
        code, said, progress = main(path, *arguments)
        assert (code, said.startswith("step 4: ")) == (0, True), progress
        assert "training faces" not in progress
        assert (out / "generator.safetensors").is_file()
        assert (out / FILENAME).read_bytes() == checkpoint


def _wait_for(condition: Any, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.mark.full
def test_interrupted_killed_and_taken_up_again(main: Any, training: Any, tmp_path: Path) -> None:
    """Steps after the last checkpoint are done again, and metrics have each step once."""
    out, log, path = tmp_path / "out", tmp_path / "log", training(steps=100_000, sheet_steps=100_000)
    begun = 0
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 75)):
        process = start_cli("train", path, log=log)
        _wait_for(lambda least=begun + 2: len(_steps(out)) >= least, process, log)
        process.send_signal(number)
        assert process.wait(60) == exit_code
        step = int(read_notes(out)["step"])
        said = " ".join(log.read_text().split())
        assert f"stopped at step {step:,}; run the same command again to resume from the checkpoint in {out}" in said
        assert "Traceback" not in said
        assert _steps(out) == list(range(1, step + 1))
        assert step > begun
        begun = step
    assert not (out / "generator.safetensors").exists()

    process = start_cli("train", path, log=log)
    _wait_for(lambda: len(_steps(out)) >= begun + 2, process, log)
    process.kill()
    process.wait(60)
    assert int(read_notes(out)["step"]) == begun
    code, _, progress = main(path, "--steps", str(begun + 1))
    assert code == 0, progress
    assert _steps(out) == list(range(1, begun + 2))


@pytest.mark.full
def test_several_processes(training: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "anon_batch", "train", training(steps=2)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 2: ") == 1
    assert done.stderr.count("3 training faces, 2 held out; 2 processes on cpu") == 1
    assert read_notes(out)["faces_seen"] == "8"
    assert _steps(out) == [1, 2]


def _foreign(out: Path, training: Any) -> list[str]:
    out.mkdir()
    save_checkpoint(out, 1, {}, {}, {"channels": "[8, 16]", "seed": "3", "side": "64", "smooth": "False"})
    return ["--set", "seed=9"]


def _no_faces(out: Path, training: Any) -> list[str]:
    out.parent.joinpath("empty").mkdir()
    return ["--set", f"faces={out.parent}/empty"]


def _few(out: Path, training: Any) -> list[str]:
    folder = write_faces(out.parent / "few", 2)
    listing = folder / "meta.jsonl"
    listing.write_text(listing.read_text().splitlines()[0])
    return ["--set", f"faces={folder}"]


def _unreadable(out: Path, training: Any) -> list[str]:
    folder = write_faces(out.parent / "bad", 2)
    first = json.loads((folder / "meta.jsonl").read_text().splitlines()[0])["file"]
    (folder / "crops" / first).write_bytes(b"no image")
    return ["--set", f"faces={folder}"]


def _in_the_way(out: Path, training: Any) -> list[str]:
    out.write_text("a file")
    return []


def _no_bank(out: Path, training: Any) -> list[str]:
    bank = out.parent / "bank.safetensors"
    bank.write_bytes(b"no bank")
    return ["--set", f"donors={bank}"]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (
            _foreign,
            "is of another training (seed: 3 in the checkpoint, 9 in the configuration); choose another output folder",
        ),
        (_no_faces, "empty; use a folder with crops/ and meta.jsonl"),
        (_few, "too few faces in"),
        (_unreadable, "is not a readable image"),
        (_in_the_way, "cannot write the output"),
        (_no_bank, "donor bank: not readable"),
        (lambda out, training: ["--set", "batchsize=3"], "did you mean `batch_size`"),
        (lambda out, training: ["--set", "batch_size"], "expected key=value"),
        (lambda out, training: ["--steps", "0"], "`steps`"),
        (lambda out, training: ["--export-only"], "contains no checkpoint.safetensors to export"),
    ],
)
def test_faults(main: Any, training: Any, tmp_path: Path, prepare: Any, said: str) -> None:
    code, out, err = main(training(), *prepare(tmp_path / "out", training))
    assert code == 2, err
    assert said in err
    assert out == ""


def test_a_signal_before_the_first_step_ends_at_once_a_later_one_after_the_step() -> None:
    stop = StopRequests()
    with pytest.raises(StoppedError):
        stop.handle(signal.SIGINT)
    stop = StopRequests()
    assert not stop()
    stop.handle(signal.SIGTERM)
    assert stop()
    with pytest.raises(TerminatedError):
        stop.handle(signal.SIGTERM)


def test_progress_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr("anon_batch.cli.progress.time.monotonic", lambda: now)
    progress = TrainingProgress(5000)

    def line(metrics: dict[str, float]) -> str:
        progress.step(metrics)
        return " ".join(capsys.readouterr().err.split())

    assert line({"step": 50, "faces_per_s": 20.04, "truth": 0.09691}) == (
        "50/5,000 steps (1.0 %), 0.0 steps/s, unknown time left; 20.0 faces/s; truth 0.09691"
    )
    assert line({"step": 60, "faces_per_s": 20}) == "", "one line in ten seconds"
    now = 140.0
    assert "100/5,000 steps (2.0 %), 1.2 steps/s, 1 h 05 min left;" in line({"step": 100, "faces_per_s": 20})
    assert line({"step": 100, "held_out_donor": 0.5}) == "step 100: held out donor 0.5"
