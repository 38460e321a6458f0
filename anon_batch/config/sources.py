"""Keys of `sources`: what a manifest may name, and how its columns are read."""

from __future__ import annotations

from pydantic import Field, field_validator

from anon_batch.config.local_paths import absolute_path
from anon_batch.config.section import Section


class SourcesConfig(Section):
    """What the manifest may name. The operator decides this, because others may have written the manifest."""

    allow: tuple[str, ...] | None = Field(
        None,
        description="Addresses that images may be read from: folders, `s3://bucket/prefix/`, `https://host/path/`, or a whole "
        "protocol such as `s3://`. null: the manifest's own folder, object stores, and http(s) servers on the public internet.",
    )
    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="Column of the manifest -> the name that it is read under; null ignores it. For a column such as `sha256` "
        "or `length` that describes another file: `{sha256: null, length: caption_length}`.",
    )

    @field_validator("allow")
    @classmethod
    def _plain_addresses(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for entry in value or ():
            if not entry.strip():
                raise ValueError("an address is empty; name a folder, a prefix or a protocol such as `s3://`")
            if "::" in entry:
                raise ValueError(f"{entry}: chained addresses (`::`) are never read")
        return None if value is None else tuple(map(absolute_path, value))

    @field_validator("columns")
    @classmethod
    def _names_once(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        given = [name for name in value.values() if name is not None]
        if any(not name.strip() for name in (*value, *given)):
            raise ValueError("a name is empty; use null to ignore a column")
        if len(set(given)) < len(given):
            raise ValueError("two columns get one name")
        return value
