"""Keys of `storage`: how objects are read and written."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from anon_batch.config.section import Section


class StorageConfig(Section):
    """Access to object stores."""

    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="fsspec options by address prefix, e.g. `s3://bucket/: {endpoint_url: ..., key: "
        "..., secret: ...}`; the longest matching prefix wins. AWS_* environment variables work without an entry.",
    )
    sse: str | None = Field(None, description="Server-side encryption of objects written to S3: `AES256` or `aws:kms`.")
    sse_kms_key_id: str | None = Field(None, description="Key of `aws:kms`; null: the bucket's default.")
    retries: int = Field(
        5,
        ge=0,
        le=20,
        description="Retries of a storage call whose object alone fails; errors that stay are not retried.",
    )
    retry_wait_s: float = Field(
        0.5, ge=0, le=60, description="First pause before a retry; it doubles, with jitter, up to 10 s."
    )
    retry_for_s: float = Field(
        150,
        ge=0,
        le=3600,
        description="How long a call is retried while the store throttles or answers nobody; then the command ends with 75. "
        "Less than half of `engine.row_timeout_s`, which ends a worker that waits.",
    )
    timeout_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="A request that receives no byte for this long is given up and retried; connecting may take 10 s of it.",
    )

    @model_validator(mode="after")
    def _kms_needs_sse(self) -> StorageConfig:
        if self.sse not in (None, "AES256", "aws:kms"):
            raise ValueError(f"sse {self.sse!r}: use AES256 or aws:kms")
        if self.sse_kms_key_id and self.sse != "aws:kms":
            raise ValueError("sse_kms_key_id needs sse: aws:kms")
        return self
