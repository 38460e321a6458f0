from __future__ import annotations

import pickle

import pytest

from anon_batch.config import JobConfig
from anon_batch.models.runtime import Runtime
from anon_batch.storage import Storage


@pytest.mark.parametrize(
    ("engine", "threads", "device"),
    [({"num_cpus": 0.5}, 1, "cpu"), ({"num_cpus": 3}, 3, "cpu"), ({"num_cpus": 2, "num_gpus": 0.25}, 2, "cuda")],
)
def test_a_worker_computes_on_what_its_job_reserves(engine, threads, device):
    config = JobConfig.model_validate({"manifest": "m.parquet", "output": "out", "engine": engine})
    runtime = pickle.loads(pickle.dumps(Runtime.for_job(config, Storage())))
    assert (runtime.threads, runtime.device) == (threads, device)
