"""How busy a GPU is while something else runs, seen from outside: by nvidia-smi."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

INTERVAL_MS = 200
_GAP_S = 2.0  # without a sample: beyond, what is known is not the whole stretch
_PATIENCE_S = 5.0


class GpuUse:
    """Asks for a GPU's utilization again and again, from its beginning as a context to its end.

    Utilization is the share of the last moments (1/6 s to 1 s, by the GPU) in which any kernel ran. Where there is no
    nvidia-smi, or it knows none (`[N/A]`: slices of a GPU, some containers), nothing is measured and nothing is raised.

    Args:
        gpu: index or UUID, as `nvidia-smi -i` takes it.
    """

    def __init__(self, gpu: str = "0") -> None:
        query = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
        self._command = ("nvidia-smi", "-i", gpu, *query, "-lms", str(INTERVAL_MS))
        self._samples: list[tuple[float, float]] = []
        self._running: tuple[subprocess.Popen[str], threading.Thread] | None = None

    def __enter__(self) -> Self:
        nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            process = subprocess.Popen(self._command, stdin=nothing, stdout=pipe, stderr=nothing, text=True)
        except OSError:
            return self
        thread = threading.Thread(target=self._read, args=(process.stdout or (),), daemon=True)
        self._running = process, thread
        thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is None:
            return
        process, thread = self._running
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()  # nothing where it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        thread.join(_PATIENCE_S)
        if process.stdout is not None and not thread.is_alive():
            process.stdout.close()

    def idle_share(self, begin: float, end: float) -> float | None:
        """Share of the time between two of `time.time()` in which the GPU ran no kernel.

        Returns:
            None where samples are missing for longer than 2 s of it, or all of them.
        """
        there = [(at, busy) for at, busy in self._samples if begin <= at <= end]
        moments = [begin, *(at for at, _ in there), end]
        if not there or max(after - before for before, after in itertools.pairwise(moments)) > _GAP_S:
            return None
        return 1 - sum(busy for _, busy in there) / len(there)

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            with contextlib.suppress(ValueError):  # [N/A], a message
                self._samples.append((time.time(), min(max(int(line), 0), 100) / 100))
