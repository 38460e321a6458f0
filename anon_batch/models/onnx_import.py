"""Import onnxruntime without its telemetry.

Version 1.32 reports from Linux too: it writes an identifier of the machine to ~/.cache/Microsoft and queues events for an
address of its makers, with the path of the program and the kind of processor. The variable is read when its library loads.
"""

from __future__ import annotations

import os
from typing import Any


def import_onnxruntime() -> Any:
    """Return the module. Where somebody imported it before, its telemetry may have begun, and ends here."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
