"""Keys of `engine`: workers, shards and resources."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config.section import Section


class EngineConfig(Section):
    """Where and how wide the job runs. Nothing here but `shard_rows` changes the release, and `num_gpus` single levels of what
    networks paint.
    """

    address: str | None = Field(
        None, description="Ray cluster to join: `auto`, `ray://HOST:10001`, `HOST:6379`; null starts Ray here."
    )
    workers: int | None = Field(None, ge=1, description="Actors. null: as many as the cluster has room for.")
    shard_rows: int = Field(512, ge=1, le=65_536, description="Rows of a shard, the unit of work and of commit.")
    attempts: int = Field(
        3,
        ge=1,
        le=20,
        description="Times a shard is begun before it is split, and a single row before it ends as `failed(poison)`.",
    )
    num_cpus: float = Field(
        1.0,
        gt=0,
        description="CPUs that an actor reserves; also the threads of its networks. Without a GPU all but one of them decode and "
        "encode; with 1 the thread that drives the networks does.",
    )
    num_gpus: float = Field(0.0, ge=0, description="GPUs that an actor reserves; above 0 the networks run on CUDA.")
    memory_bytes: int | None = Field(None, ge=1, description="Memory that an actor reserves; null reserves none.")
    io_threads: int = Field(
        8, ge=1, le=256, description="Threads of an actor that read and put; with a GPU also decode and encode."
    )
    read_ahead: int = Field(
        16,
        ge=1,
        le=4096,
        description="Pictures that an actor holds at most between reading and putting, "
        "batches being detected not counted.",
    )
    row_timeout_s: float = Field(
        600,
        gt=0,
        description="An actor that makes no progress for this long ends its process, so "
        "that the shard is tried again elsewhere.",
    )
