"""The whole corpus of hostile images by the real command line: every row ends, neighbours are unharmed, memory stays bounded."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from hostile_files import CANARY, image_corpus
from hostile_files.ordinary import encode, ordinary_files, pixels
from releases import run_cli

pytestmark = pytest.mark.full

MOST_BYTES = 2 * 2**30  # of a worker: half a gigabyte of its own, 16 bytes a pixel of the largest image, and the batch
MAX_PIXELS = 30_000_000


class PeakOfWorkers:
    """The largest resident memory that a worker process reached, bytes; and how often one was seen."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.seen = 0

    def look(self) -> None:
        """Read the kernel's own peak of each worker."""
        for child in psutil.Process().children(recursive=True):
            try:
                if "ShardActor" not in " ".join(child.cmdline()):
                    continue
                lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            except (OSError, psutil.Error):  # it has ended
                continue
            self.seen += 1
            peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
            self.peak_bytes = max([self.peak_bytes, *peaks])


@contextmanager
def watched() -> Iterator[PeakOfWorkers]:
    """Watch the workers that this process started, every half second."""
    peak, stop = PeakOfWorkers(), threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            peak.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def test_hostile_files_end_with_a_reason_and_harm_no_neighbour(tmp_path: Path) -> None:
    source, groups, reasons = tmp_path / "source", {}, {}
    source.mkdir()
    for file in image_corpus():
        (source / file.name).write_bytes(file.data)
        groups[file.name], reasons[file.name] = file.group, file.reasons
    good = {f"good-{name}": data for name, data in ordinary_files().items() if "." in name}
    good |= {f"good-{seed}.jpg": encode("JPEG", pixels(seed=seed)) for seed in range(10)}
    for name, data in good.items():
        (source / name).write_bytes(data)
    manifest, release = str(tmp_path / "m.parquet"), tmp_path / "release"
    assert run_cli("manifest", str(source), "-o", manifest).returncode == 0
    options = f"--set engine.workers=1 --set limits.max_pixels={MAX_PIXELS} --method solid"
    with watched() as peak:
        done = run_cli("run", "--manifest", manifest, "--output", str(release), *options.split())
    assert done.returncode == 10, done.stderr[-2000:]  # the gate on failed rows
    assert "Traceback" not in done.stderr
    assert run_cli("verify", str(release)).returncode == 0
    rows = pq.read_table(release / "provenance").select(["image_id", "status", "reason"]).to_pylist()
    assert len(rows) == len(groups) + len(good)
    ends = {row["image_id"]: row["reason"] or "an output" for row in rows}
    assert {name: ends[name] for name in good if ends[name] != "an output"} == {}
    wrong = {name: ends[name] for name, allowed in reasons.items() if allowed and ends[name] not in allowed}
    assert wrong == {}
    assert not {"poison", "out_of_memory", "incomplete", "metadata", "encode"} & set(ends.values())
    for path in (path for path in release.rglob("*") if path.is_file()):
        assert CANARY not in path.read_bytes(), path
    table = defaultdict(Counter)
    for name, group in groups.items():
        table[group][ends[name]] += 1
    print(f"\npeak of a worker: {peak.peak_bytes / 2**20:.0f} MiB")
    for group, counts in table.items():
        print(f"| {group} | {counts.total()} | {', '.join(f'{n} {end}' for end, n in counts.most_common())} |")
    assert peak.seen
    assert 0 < peak.peak_bytes < MOST_BYTES
