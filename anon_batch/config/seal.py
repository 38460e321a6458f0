"""Keys of `seal`: whether originals are kept, encrypted, in the ledger."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from anon_batch.config.section import Section


class SealConfig(Section):
    """Whether holders of a private key can restore what was anonymized. Off without recipients.

    What is sealed lies in the ledger, never in the release, whose images are the same with and without it.
    """

    recipients: tuple[str, ...] = Field(
        (),
        description="Addresses of public keys, as `anon-batch keys new --seal` writes them; holders of their private keys can "
        "restore the originals. Empty: nothing is sealed.",
    )
    need: Literal["any", "all"] = Field(
        "any",
        description="`any`: the holder of any of the private keys can restore the originals; `all`: only all holders together "
        "can, and if one key is lost, nobody can.",
    )
    what: Literal["region", "file"] = Field(
        "region",
        description="`region`: each region by itself, where source and output are JPEGs, so that one can be restored without "
        "the others; the source's file elsewhere. `file`: the source's file of each anonymized image, metadata included.",
    )
    one_bucket: bool = Field(
        False,
        description="Allow release and ledger in one bucket, because other means keep readers of the release from the ledger.",
    )

    @field_validator("recipients", mode="before")
    @classmethod
    def _one_address_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
