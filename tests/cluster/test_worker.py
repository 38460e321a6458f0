"""A worker that cannot start: its first shard says why, and its log names no secret."""

from __future__ import annotations

import pytest

from anon_batch.cluster.worker import ShardActor
from anon_batch.config import load_job
from anon_batch.records import ShardSpec


class _NoRun:
    """Fails as a plug-in may whose message holds a presigned address."""

    config = load_job(None, {"manifest": "m.parquet", "output": "out"})

    @property
    def storage(self) -> object:
        raise RuntimeError("GET https://host.example/a.jpg?X-Amz-Signature=CANARY failed")


def test_neither_result_nor_log_of_a_worker_that_cannot_start_holds_a_query(capfd: pytest.CaptureFixture[str]) -> None:
    actor = ShardActor(_NoRun())
    result = actor.process(ShardSpec(0, 1))
    log = capfd.readouterr().err
    assert result.outcome == "error"
    assert "a worker failed to start: RuntimeError" in result.error
    assert "Traceback" in log
    assert "CANARY" not in log + result.error
