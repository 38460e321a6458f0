"""Shared by the training tests: drawn faces, the bundled donors, the detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_faces import model, tiny_config, write_faces

from anon_batch.train.distributed import Processes
from anon_batch.train.loop import Trainer

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, because networks this small are faster so, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "drawn")


@pytest.fixture(scope="session")
def bank() -> bytes:
    return model("donors")


@pytest.fixture(scope="session")
def detector() -> bytes:
    return model("centerface")


@pytest.fixture(scope="session")
def trainer(faces: Path, bank: bytes, detector: bytes) -> Any:
    """Return a function that opens a tiny training in a folder."""
    return lambda output, **changes: Trainer(
        tiny_config(faces, output, **changes), bank, detector, ALONE, lambda text: None
    )
