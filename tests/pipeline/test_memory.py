"""A shard that runs out of memory is tried with half the images at a time, then one by one; then the row is withheld."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import job, shards, write_dataset

from anon_batch.imaging.source import SourceImage
from anon_batch.pipeline.attempts import Attempt
from anon_batch.pipeline.executor import RowExecutor
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor

ROWS = 16


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), [f"{number:02d}.png" for number in range(ROWS)])
    opened, _ = open_run(job(str(tmp_path), engine__shard_rows=ROWS, detect__batch_size=8, engine__read_ahead=8), ())
    return opened


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Batch size and read-ahead of each attempt."""
    seen: list[tuple[int, int]] = []
    original = RowExecutor.__init__

    def record(self: Any, stages: Any, io: Any, cpu: Any, batch_size: int, read_ahead: int) -> None:
        seen.append((batch_size, read_ahead))
        original(self, stages, io, cpu, batch_size, read_ahead)

    monkeypatch.setattr(RowExecutor, "__init__", record)
    return seen


def outcomes(run: Run) -> list[tuple[str, dict[str, int], dict[str, int]]]:
    """Process the first shard until it is committed."""
    processor, ends = ShardProcessor(run), []
    while not ends or ends[-1][0] == "error":
        result = processor.process(shards(run)[0])
        assert result.outcome != "error" or "too little memory for '03.png'" in str(result.error)
        ends.append((result.outcome, dict(result.statuses), dict(result.reasons)))
    return ends


def without_memory(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """Let the decoding of one image fail so many times."""
    original, left = SourceImage.preview, [failures]

    def preview(self: SourceImage, max_side_px: int | None) -> Any:
        if self.image_id == "03.png" and left[0] > 0:
            left[0] -= 1
            raise MemoryError
        return original(self, max_side_px)

    monkeypatch.setattr(SourceImage, "preview", preview)


def test_memory_that_is_enough_for_half_the_images(
    run: Run, monkeypatch: pytest.MonkeyPatch, widths: Sequence[tuple[int, int]]
) -> None:
    without_memory(monkeypatch, 1)
    assert outcomes(run) == [("error", {}, {}), ("committed", {"anonymized": 2, "clean": 2}, {})]
    assert widths == [(8, 8), (4, 4)]


def test_an_image_that_does_not_fit_alone_costs_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch, widths: Sequence[tuple[int, int]]
) -> None:
    without_memory(monkeypatch, 99)
    end = ("committed", {"anonymized": 2, "clean": 1, "withheld": 1}, {"out_of_memory": 1})
    assert outcomes(run) == [("error", {}, {}), ("error", {}, {}), end]
    assert widths == [(8, 8), (4, 4), (1, 1)]


def test_shares_of_attempts() -> None:
    last = [False, False, False, False, True]
    assert [Attempt(f"ab-c-{n}", is_last=is_last).share_of(16) for n, is_last in enumerate(last, 1)] == [16, 8, 4, 2, 1]
    assert Attempt("a-1", is_last=True).share_of(16) == 16
    assert Attempt("a-9", is_last=False).share_of(16) == 1
