"""Keys of `storage`: how objects are read and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from anon_batch.config.section import Section
from anon_batch.redaction import redact_address


class StorageConfig(Section):
    """Access to object stores."""

    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="fsspec options by address prefix, e.g. `s3://bucket/: {endpoint_url: ..., key: "
        "..., secret: ...}`; the longest matching prefix wins. AWS_* environment variables work without an entry.",
    )
    sse: str | None = Field(
        None,
        description="Encryption that is asked for with every object written to S3: `AES256` or `aws:kms`; null asks for none, so "
        "each bucket applies its own default.",
    )
    sse_kms_key_id: str | None = Field(None, description="ARN of the key of `aws:kms`, which needs one.")
    sse_use_aws_managed: bool = Field(
        False,
        description="Allow `aws:kms` without a key. S3 then encrypts by the account's key `aws/s3`, whatever the bucket's "
        "default is.",
    )
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
    def _kms_has_a_key(self) -> StorageConfig:
        if self.sse not in (None, "AES256", "aws:kms"):
            raise ValueError(f"sse {self.sse!r}: use AES256 or aws:kms")
        if self.sse_kms_key_id is not None and self.sse != "aws:kms":
            raise ValueError("sse_kms_key_id needs sse: aws:kms")
        own = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.sse_kms_key_id}
        self._check_key("`storage.sse`", own)
        for prefix, options in self.options.items():
            if isinstance(given := options.get("s3_additional_kwargs"), Mapping):
                where = f"`s3_additional_kwargs` of {redact_address(prefix)} in `storage.options`"
                self._check_key(where, {**own, **given})
        return self

    def _check_key(self, where: str, asked: Mapping[str, Any]) -> None:
        is_kms = str(asked["ServerSideEncryption"]).startswith("aws:kms")
        if not is_kms or str(asked["SSEKMSKeyId"] or "").strip() or self.sse_use_aws_managed:
            return
        raise ValueError(
            f"{where} asks for {asked['ServerSideEncryption']} and names no key: S3 would encrypt by the account's key "
            "aws/s3, not by the bucket's key. Leave it out, so that each bucket applies its own default; or name the key, "
            "`storage.sse_kms_key_id`; or allow the account's key by `storage.sse_use_aws_managed: true`"
        )
