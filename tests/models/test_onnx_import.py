from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_DETECT = """
import numpy as np
from anon_batch import Anonymizer
Anonymizer()([np.zeros((64, 64, 3), np.uint8)])
"""


def test_a_detection_leaves_nothing_of_onnxruntimes_telemetry(tmp_path: Path) -> None:
    """Its sign is a folder ~/.cache/Microsoft with an identifier and a queue of events."""
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", _DETECT],
        env=variables | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []
