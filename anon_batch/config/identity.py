"""Keys of `identity`: whether a person gets the same new face in several images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from anon_batch.config.section import Section


class IdentityConfig(Section):
    """Whether a person gets the same new face in several images. Off by default.

    Who is who comes from a column of the manifest, which is never published. It enters as a seed alone: no method sees a face.
    """

    scope: Literal["none", "group", "dataset"] = Field(
        "none",
        description="`dataset`: a person has one new face in all images; `group`: one in all images with the same value in "
        "`group_column`, and unrelated ones elsewhere; `none`: another one in each image.",
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

    @model_validator(mode="after")
    def _group_needs_a_column(self) -> IdentityConfig:
        if self.scope == "group" and self.group_column is None:
            raise ValueError("scope: group needs group_column")
        if self.scope != "group" and self.group_column is not None:
            raise ValueError("group_column needs scope: group")
        return self
