"""One round: a run that is disturbed at random moments until it ends, and what must hold then."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pipeline_fixtures import BOX, FACES, image_bytes
from releases import RUN_KEY, command, environment, release_of

from anon_batch.config import load_job
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.release.verify import verify
from anon_batch.storage import Storage
from soak.faults import FAULTS, Fault, never, nothing
from soak.processes import start_driver, warm_up

ROWS, WORKERS = 24, 2
CANARY = "canary7f3a"  # in the addresses and the metadata of the sources; must never be published or printed
_MOST_STARTS, _LONGEST_S = 4, 60.0


def make_dataset(base: Path) -> None:
    """Write tiny images, of which half have a face and some have metadata, and a manifest."""
    folder = base / CANARY
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E] = CANARY
    ids, uris = [f"{number:02d}.{'jpg' if number % 3 else 'png'}" for number in range(ROWS)], []
    for number, image_id in enumerate(ids):
        path = folder / image_id
        with Image.open(io.BytesIO(image_bytes(number))) as image:
            image.save(path, exif=exif, **({"quality": 90} if number % 3 else {}))
        uris.append(str(path))
    boxes = pa.array([[BOX] if number % 2 else [] for number in range(ROWS)], FACES)
    pq.write_table(pa.table({"image_id": ids, "uri": uris, "faces": boxes}), base / "m.parquet")
    (base / "key").write_bytes(RUN_KEY)


def keys_of(base: Path, output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the job."""
    return {
        "manifest": str(base / "m.parquet"),
        "output": str(output),
        "run_key_file": str(base / "key"),
        "detect.detectors": ["manifest"],
        "detect.batch_size": 4,
        "anonymize.face.method": "solid",
        "engine.shard_rows": 4,
        "engine.io_threads": 2,
        "engine.attempts": 4,
        "storage.retries": 1,
        "storage.retry_wait_s": 0,
        **settings,
    }


def start_forked(keys: Mapping[str, Any], log: Path, prepare: Callable[[], None]) -> int:
    """Start a driver whose workers are forked; return its process id."""
    return start_driver(load_job(None, keys), WORKERS, log, prepare)


def start_command(keys: Mapping[str, Any], log: Path, prepare: Callable[[], None]) -> int:
    """Start `anon-batch run`, whose workers are Ray's; return its process id."""
    assert prepare is nothing
    settings = [f"--set={key}={json.dumps(value)}" for key, value in keys.items()]
    with log.open("ab") as file:
        run = command("run", "--set", f"engine.workers={WORKERS}", *settings)
        # Because a shell that runs the tests in the background ignores SIGINT, reset it for the child.
        default = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        started = subprocess.Popen(
            run, env=environment(), stdout=file, stderr=file, start_new_session=True, preexec_fn=default
        )
        started.returncode = 0  # because `Soak` waits for it
    return started.pid


class Soak:
    """Rounds on one dataset, and a tally of what was injected and how the drivers ended.

    Args:
        base: an empty folder for everything.
        seed: of all random choices.
        start: starts a driver.
    """

    def __init__(self, base: Path, seed: int, start: Callable[..., int] = start_forked) -> None:
        self._base, self._seed, self._start = base, seed, start
        self._faults = FAULTS if start is start_forked else tuple(fault for fault in FAULTS if not fault.inside)
        make_dataset(base)
        warm_up()
        self.injected: Counter[str] = Counter()
        self.ends: dict[str, Counter[int]] = {fault.name: Counter() for fault in self._faults}
        self._start_s = 0.3
        self._make_undisturbed("first")  # slower than others, because it fills the caches of the machine
        self._undisturbed = self._make_undisturbed("undisturbed")

    def _make_undisturbed(self, name: str) -> dict[str, Any]:
        output = self._base / name
        begin = time.monotonic()
        code = self._wait([self._start(keys_of(self._base, output, {}), self._log(output), nothing)])
        assert code == [0], self._log(output).read_text()
        self._start_s = time.monotonic() - begin
        return release_of(Storage(), str(output))

    def round(self, number: int) -> None:
        """Disturb one run, finish it, and check it. Number and seed decide everything but the machine's pace.

        Raises:
            AssertionError: the run ended in a way that it must not; the message names seed and round.
        """
        rng = random.Random(f"{self._seed} {number}")
        output = self._base / f"round-{number}"
        where = f"seed {self._seed}, round {number}, see {self._log(output)}"
        fault = self._faults[number % len(self._faults)]  # so that some rounds have all
        for _ in range(_MOST_STARTS):
            if self._disturbed_start(output, fault, rng, where):
                break
            fault = rng.choice(self._faults)
        code = self._wait([self._start(keys_of(self._base, output, {}), self._log(output), nothing)])
        assert code == [0], f"{where}: the last start returned {code}"
        self._check(output, where)
        for path in (output, Path(f"{output}-ledger")):
            shutil.rmtree(path)
        self._log(output).unlink()

    def _disturbed_start(self, output: Path, fault: Fault, rng: random.Random, where: str) -> bool:
        """Start drivers and disturb them; return whether one of them finished the run."""
        keys, prepare = keys_of(self._base, output, fault.settings), fault.prepare(rng)
        drivers = [self._start(keys, self._log(output), prepare) for _ in range(fault.drivers)]
        self.injected[fault.name] += fault.act is never or fault.act(drivers[0], rng, self._start_s)
        codes = self._wait(drivers)
        for code in codes:
            self.ends[fault.name][code] += 1
            assert code in (0, *fault.codes), f"{where}: {fault.name}: exit code {code}"
        return 0 in codes

    def _wait(self, drivers: list[int]) -> list[int]:
        """Return the exit codes of drivers; end what is left of their process groups."""
        codes = []
        deadline = time.monotonic() + _LONGEST_S
        try:
            for driver in drivers:
                while (ended := os.waitpid(driver, os.WNOHANG))[0] == 0:
                    assert time.monotonic() < deadline, f"driver {driver} hangs"
                    time.sleep(0.005)
                codes.append(os.waitstatus_to_exitcode(ended[1]))
        finally:
            for driver in drivers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(driver, signal.SIGKILL)
        return codes

    def _check(self, output: Path, where: str) -> None:
        assert release_of(Storage(), str(output)) == self._undisturbed, f"{where}: not the undisturbed release"
        for verdict in verify(Release(Storage(), str(output)), Ledger(Storage(), f"{output}-ledger")):
            last = verdict
        assert (last.faults, last.accounted) == ([], ROWS), where
        published = [path for path in output.rglob("*") if path.is_file()]
        assert not [path for path in published if CANARY.encode() in path.read_bytes()], f"{where}: published a canary"
        assert not [path for path in published if path.name.startswith(".")], f"{where}: left a partial file"
        said = self._log(output).read_text()
        # Python prints a traceback of an error that a signal raises inside a destructor, and goes on.
        assert said.count("Traceback") == said.count("Exception ignored in"), where
        assert CANARY not in said, where

    def _log(self, output: Path) -> Path:
        return output.with_suffix(".log")

    def lines(self) -> list[str]:
        """Return a line for each kind of fault: how often it was injected, and how the drivers ended."""
        return [
            f"{fault.name:42} {self.injected[fault.name]:5} injected; drivers ended "
            + ", ".join(f"{code}: {count}" for code, count in sorted(self.ends[fault.name].items()))
            for fault in self._faults
        ]
