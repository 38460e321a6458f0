"""Keys of `identity`: whether a person gets the same new face in several images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from anon_batch.config.local_paths import absolute_path
from anon_batch.config.section import Section


class IdentityConfig(Section):
    """Whether a person gets the same new face in several images. Off by default.

    Who is who comes from a column of the manifest, which is never published, or from comparing faces once, by `anon-batch
    identify`. It enters as a seed alone: no method sees a face.
    """

    scope: Literal["none", "group", "dataset"] = Field(
        "none",
        description="`dataset`: a person has one new face in all images; `group`: one in all images with the same value in "
        "`group_column`, and unrelated ones elsewhere; `none`: another one in each image.",
    )
    source: Literal["column", "cluster"] = Field(
        "column",
        description="`column`: `person_column` says who is who; `cluster`: `anon-batch identify` estimates it, from features of "
        "faces. These are biometric data: `compliance.art9_basis` is needed.",
    )
    person_column: str = Field(
        "person",
        min_length=1,
        description="Column that names the person: text or integer for the only face of an image, or a list with one entry for "
        "each of the row's `regions`. Null: unknown, so that the face gets a seed of its own.",
    )
    group_column: str | None = Field(None, min_length=1, description="Column that names the group, for `scope: group`.")
    key_file: str | None = Field(
        None,
        description="Address of a file with at least 32 secret bytes that persons' faces derive from; null: generated into the "
        "ledger. With the same key, persons and names, two releases give the same faces.",
    )

    embedder: str = Field(
        "sface",
        min_length=1,
        description="For `source: cluster`: `sface`, a pinned download, or the address of a recogniser of yours: an ONNX file or "
        "its declaration.",
    )
    min_face_px: int = Field(
        32,
        ge=24,  # because at 16 px, 69 % of the pairs of one person have a cosine below 0.5
        description="Least shorter side of a face that is compared. Smaller ones, and those without landmarks, from the side or "
        "with a low score, are nobody's: each gets a seed of its own.",
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Least mean cosine of the features of one person's faces; null: the least that keeps to `max_false_pairs`, "
        "by how alike faces of one image are, which are different people.",
    )
    max_false_pairs: float | None = Field(
        1.0,
        ge=0.0,
        description="Most pairs of different people that may be expected to be as alike as one person; null: any number, also an "
        "unknown one, where too few images show two faces.",
    )
    keep_features: bool = Field(
        False,
        description="Keep the features of faces, encrypted, in the ledger once persons are found; they are biometric data.",
    )

    @field_validator("embedder")
    @classmethod
    def _is_found_everywhere(cls, value: str) -> str:
        return absolute_path(value) if value.endswith((".onnx", ".yaml", ".yml")) or "/" in value else value

    @model_validator(mode="after")
    def _group_needs_a_column(self) -> IdentityConfig:
        if self.scope == "group" and self.group_column is None:
            raise ValueError("scope: group needs group_column")
        if self.scope != "group" and self.group_column is not None:
            raise ValueError("group_column needs scope: group")
        return self
