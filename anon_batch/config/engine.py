"""Keys of `engine`: workers, shards and resources."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config.section import Section


class EngineConfig(Section):
    """Where the job runs and on how many workers.

    Only `shard_rows` changes the files of a release; `num_gpus` may change generated pixels by single levels.
    """

    address: str | None = Field(
        None,
        description="Ray cluster to join: `auto`, `ray://HOST:10001`, `HOST:6379`; `local` starts Ray on this machine; null "
        "joins the cluster that RAY_ADDRESS names, as it does in a Ray job, else starts Ray on this machine.",
    )
    workers: int | None = Field(None, ge=1, description="Number of Ray actors; null: as many as fit into the cluster.")
    shard_rows: int = Field(512, ge=1, le=65_536, description="Rows in a shard, the unit of work and of commit.")
    attempts: int = Field(
        3,
        ge=1,
        le=20,
        description="Attempts at a shard before it is split, and at a single row before it ends as `failed(poison)`.",
    )
    num_cpus: float = Field(
        1.0,
        gt=0,
        description="CPUs that an actor reserves, and threads of its networks. Without a GPU, all but one of them decode and "
        "encode; with 1 CPU the thread of the networks also decodes and encodes.",
    )
    num_gpus: float = Field(0.0, ge=0, description="GPUs that an actor reserves; above 0, networks run on CUDA.")
    memory_bytes: int | None = Field(None, ge=1, description="Memory that an actor reserves; null: none.")
    io_threads: int = Field(
        8,
        ge=1,
        le=256,
        description="Threads of an actor that read and write objects; with a GPU they also decode and encode.",
    )
    read_ahead: int = Field(
        16,
        ge=1,
        le=4096,
        description="Most images that an actor holds in memory between read and write, without the batch in detection.",
    )
    row_timeout_s: float = Field(
        600,
        gt=0,
        description="An actor that finishes no row for this long is killed, and its shard is retried.",
    )
    termination_notice_s: float = Field(
        0,
        ge=0,
        description="Seconds between SIGTERM and the end of the driver's machine, e.g. 120 on a spot machine. The driver starts "
        "no shard after SIGTERM, and gives up those in flight 5 s before the end; below 5, at once. A Ray job has no more than "
        "Ray waits before SIGKILL: 3 s, or RAY_JOB_STOP_WAIT_TIME_S of the cluster.",
    )
    stop_after_uniform_failures: int | None = Field(
        1000,
        ge=0,
        description="A run stops with exit code 2 when its first rows, at least this many, all fail for one reason; they are "
        "tried again when it is resumed. 0 or null: never.",
    )
