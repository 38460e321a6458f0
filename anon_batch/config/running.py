"""Keys of `limits`, `engine`, `models` and `storage`: what is refused, where it runs, where weights and bytes come from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from anon_batch.config.section import Section


class LimitsConfig(Section):
    """What is refused before it is decoded."""

    max_pixels: int = Field(
        200_000_000, ge=1, description="Pictures with more pixels end as `failed(too_many_pixels)`."
    )
    max_bytes: int = Field(256 * 2**20, ge=1, description="Sources with more bytes end as `failed(too_many_bytes)`.")


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


class ModelsConfig(Section):
    """Where weights come from."""

    mirror: str | None = Field(
        None,
        description="A fsspec prefix that holds the registry's files by name; asked before the "
        "public address. The variable ANON_BATCH_MODEL_MIRROR does the same.",
    )
    cache: str | None = Field(None, description="Folder for fetched weights; null: ~/.cache/anon-batch.")
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Own files in place of the registry's, address by model, e.g. `generator:` one that `anon-batch train` made. "
        "Their digests go into fingerprint and provenance.",
    )


class StorageConfig(Section):
    """How bytes are reached."""

    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="fsspec options by address prefix, e.g. `s3://bucket/: {endpoint_url: ..., key: "
        "..., secret: ...}`; the longest matching prefix counts. AWS_* variables need no entry here.",
    )
    sse: str | None = Field(
        None, description="Server-side encryption of every object written to S3: `AES256` or `aws:kms`."
    )
    sse_kms_key_id: str | None = Field(None, description="Key of `aws:kms`; null: the bucket's default.")
    retries: int = Field(
        5, ge=0, le=20, description="Further tries of a storage call that failed for a passing reason."
    )
    retry_wait_s: float = Field(
        0.5, ge=0, le=60, description="First pause between tries; doubles, with jitter, up to 20 s."
    )

    @model_validator(mode="after")
    def _kms_needs_sse(self) -> StorageConfig:
        if self.sse not in (None, "AES256", "aws:kms"):
            raise ValueError(f"sse {self.sse!r}: AES256 or aws:kms")
        if self.sse_kms_key_id and self.sse != "aws:kms":
            raise ValueError("sse_kms_key_id needs sse: aws:kms")
        return self
