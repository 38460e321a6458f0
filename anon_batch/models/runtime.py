"""What detectors and methods need to run their models: weights, CPU threads, a device."""

from __future__ import annotations

from dataclasses import dataclass

from anon_batch.config import JobConfig
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where weights come from, and what the networks run on. Picklable.

    Args:
        store: gives the weights.
        threads: CPU threads of one network call, at least 1.
        device: `cpu`, `cuda` or `cuda:N`.
        workers: that share what a service allows; None: not known.
    """

    store: ModelStore
    threads: int = 1
    device: str = "cpu"
    workers: int | None = 1

    @classmethod
    def for_job(cls, config: JobConfig, storage: Storage) -> Runtime:
        """Return the runtime of one worker of a job: its reserved CPUs as threads, CUDA if it reserves a GPU."""
        engine = config.engine
        return cls(
            ModelStore(storage, config.models),
            threads=max(1, int(engine.num_cpus)),
            device="cuda" if engine.num_gpus > 0 else "cpu",
            workers=engine.workers,
        )
