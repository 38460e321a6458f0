"""Keys of `link`: whether a person's images can be found by a photograph."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from anon_batch.config.section import Section

PINNED_EMBEDDERS = ("sface",)  # those that a name stands for


class LinkConfig(Section):
    """Whether holders of a private key can find a person's images by a photograph. Off without recipients.

    An encrypted index of the faces lies in the ledger, never in the release, whose images are the same with and without it.
    """

    recipients: tuple[str, ...] = Field(
        (),
        description="Addresses of public keys, as `anon-batch keys new --link` writes them; the holders of their private keys "
        "can search. Empty: there is no index.",
    )
    need: Literal["any", "all"] = Field(
        "any",
        description="`any`: the holder of any of the private keys can search; `all`: only all holders together can, and if one "
        "key is lost, nobody can.",
    )
    embedder: str = Field(
        "sface",
        min_length=1,
        description="The face recogniser: `sface`, which is downloaded; or the address of an ONNX file or of its declaration, as "
        "`anon-batch evaluate --embedder` takes it. Every worker must be able to read it.",
    )
    min_face_px: int = Field(
        24,
        ge=8,
        description="Faces whose box has a shorter side are not in the index, because a recogniser takes them for each other.",
    )
    max_false_hits: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Most hits of other people that a search may be expected to give; `anon-batch link` has an option for it.",
    )
    one_bucket: bool = Field(
        False,
        description="Allow release and ledger in one bucket, because other means keep readers of the release from the ledger.",
    )

    @field_validator("recipients", mode="before")
    @classmethod
    def _one_address_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
