"""The faults: what is done to the processes of a run, and when."""

from __future__ import annotations

import datetime as dt
import errno
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
from releases import actors_of

from anon_batch.detect.from_manifest import ManifestBoxes
from anon_batch.formats import run_json
from anon_batch.imaging.source import SourceImage
from anon_batch.storage import local

Act = Callable[[int, random.Random, float], bool]
_WORK_S = 1.5


def nothing() -> None: ...


def _nothing_to_prepare(rng: random.Random) -> Callable[[], None]:
    return nothing


def never(driver: int, rng: random.Random, start_s: float) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a start of a driver is disturbed.

    Args:
        name: of the kind.
        codes: how the driver may end; it may always end with 0, because the run was finished before.
        prepare: returns what the driver's process does first.
        act: sends a signal at a random moment; returns whether there was a process to send it to.
        settings: keys of the job.
        drivers: started at once.
    """

    name: str
    codes: tuple[int, ...]
    prepare: Callable[[random.Random], Callable[[], None]] = _nothing_to_prepare
    act: Act = never
    settings: dict[str, Any] = field(default_factory=dict)
    drivers: int = 1

    @property
    def inside(self) -> bool:
        """Whether it changes the driver's process from inside."""
        return self.prepare is not _nothing_to_prepare


def to_driver(sent: signal.Signals) -> Act:
    """Send a signal at any moment of a start."""

    def act(driver: int, rng: random.Random, start_s: float) -> bool:
        time.sleep(rng.uniform(0, start_s))
        running = psutil.Process(driver).status() != psutil.STATUS_ZOMBIE
        os.kill(driver, sent)
        return running

    return act


def to_worker(sent: signal.Signals) -> Act:
    """Send a signal while the workers start or work."""

    def act(driver: int, rng: random.Random, start_s: float) -> bool:
        try:
            while not _workers_of(driver):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, min(start_s, _WORK_S)))
            rng.choice(_workers_of(driver)).send_signal(sent)
        except (psutil.NoSuchProcess, IndexError):  # the driver ended first, or its workers
            return False
        return True

    return act


def _workers_of(driver: int) -> list[psutil.Process]:
    process = psutil.Process(driver)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(driver)
    children = [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE]
    workers = children if process.cmdline() == psutil.Process().cmdline() else actors_of(driver)  # forked or not
    # Those whose watchdog runs, because what stops in the first moments of a process is for Ray to notice.
    return [worker for worker in workers if worker.children()]


def little_memory(rng: random.Random) -> Callable[[], None]:
    """Detection fails above a number of images, and a few decodings fail whatever they decode."""
    most, share = rng.randint(1, 3), rng.choice([0.0, 0.05])
    seed = rng.random()

    def prepare() -> None:
        detections, preview, draws = ManifestBoxes.detections, SourceImage.preview, random.Random(seed)
        left = [2]

        def limited(self: ManifestBoxes, given: Any) -> Any:
            if len(given) > most:
                raise MemoryError
            return detections(self, given)

        def sometimes(self: SourceImage, max_side_px: int | None) -> Any:
            if left[0] and draws.random() < share:
                left[0] -= 1
                raise MemoryError
            return preview(self, max_side_px)

        ManifestBoxes.detections = limited  # type: ignore[method-assign]
        SourceImage.preview = sometimes  # type: ignore[method-assign, assignment]

    return prepare


def full_disk(rng: random.Random) -> Callable[[], None]:
    """After some bytes every file that this process or a worker of it writes ends in the middle, with ENOSPC."""
    room = rng.choice([0, rng.randint(0, 4_000), rng.randint(0, 60_000)])

    def prepare() -> None:
        left, original = [room], local._new_file

        class Full:
            def __init__(self, file: Any) -> None:
                self._file = file

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self._file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

            def write(self, data: bytes) -> None:
                self._file.write(data[: max(0, left[0])])
                left[0] -= len(data)
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")

        local._new_file = lambda *given: Full(original(*given))  # type: ignore[assignment, return-value]

    return prepare


def jumping_clock(rng: random.Random) -> Callable[[], None]:
    """The clock of the wall jumps by up to thirty years in either direction whenever it is asked."""
    seed = rng.random()

    def prepare() -> None:
        draws, real = random.Random(seed), time.time

        def jump() -> float:
            return real() + draws.uniform(-1e9, 1e9)

        class Jumping(dt.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return dt.datetime.fromtimestamp(jump(), tz)

        time.time = jump
        run_json.datetime = Jumping  # type: ignore[misc, attr-defined]

    return prepare


HANGS = {"engine.row_timeout_s": 0.5}
FAULTS = (
    Fault("SIGKILL of the driver", (-signal.SIGKILL,), act=to_driver(signal.SIGKILL)),
    Fault("SIGKILL of a worker (as for its memory)", (), act=to_worker(signal.SIGKILL)),
    Fault("SIGSEGV of a worker", (), act=to_worker(signal.SIGSEGV)),
    Fault("SIGSTOP of a worker", (), act=to_worker(signal.SIGSTOP), settings=HANGS),
    Fault("SIGTERM of a worker", (), act=to_worker(signal.SIGTERM)),
    Fault(
        "SIGTERM of the driver, 3 s notice",
        (75, -signal.SIGTERM),  # the latter in the first moments, before there is a handler
        act=to_driver(signal.SIGTERM),
        settings={"engine.termination_notice_s": 3},
    ),
    Fault(
        "SIGTERM of the driver, 120 s notice",
        (75, -signal.SIGTERM),  # the latter in the first moments, before there is a handler
        act=to_driver(signal.SIGTERM),
        settings={"engine.termination_notice_s": 120},
    ),
    Fault("SIGINT of the driver", (130,), act=to_driver(signal.SIGINT)),
    Fault("out of memory in a batch", (), little_memory),
    Fault("two drivers at once", (), drivers=2),
    Fault("two drivers at once, one killed", (-signal.SIGKILL,), act=to_driver(signal.SIGKILL), drivers=2),
    Fault("full disk", (2,), full_disk),
    Fault("clock jumps", (), jumping_clock),
)
