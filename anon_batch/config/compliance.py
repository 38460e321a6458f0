"""Keys of `compliance`: what only the owner of a release can say about it."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

from pydantic import Field, field_validator

from anon_batch.claims import claims_in
from anon_batch.config.section import Section

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHORT, _LONG = 300, 2000  # characters
# Control characters but line breaks and tabs, marks that turn or hide text, halves of characters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff\ud800-\udfff]"
)


class ComplianceConfig(Section):
    """What only the owner of a release can say about it. All of it is published; what is null reads "Not stated by the owner".

    It is no part of the job that a resume compares: change it and run the same command again, or `anon-batch release OUTPUT
    --job JOB`.
    """

    controller: str | None = Field(
        None, max_length=_SHORT, description="Who decides about purpose and means of the processing: name and address."
    )
    contact: str | None = Field(
        None,
        max_length=_SHORT,
        description="Where persons in the images and users of the release can write to, for example to report a face.",
    )
    legal_basis: str | None = Field(
        None,
        max_length=_LONG,
        description="Legal basis of the processing, anonymizing included, for example `Article 6(1)(f) GDPR: ...`.",
    )
    art9_basis: str | None = Field(
        None,
        max_length=_LONG,
        description="Basis for special categories of personal data, if any are processed (Article 9(2) GDPR).",
    )
    purpose: str | None = Field(
        None, max_length=_LONG, description="What the images were collected for, and what the release is made for."
    )
    dpia_reference: str | None = Field(
        None,
        max_length=_SHORT,
        description="Number or address of the data protection impact assessment (Article 35 GDPR).",
    )
    retention: str | None = Field(
        None, max_length=_LONG, description="How long the ledger is kept, who can read it, and when it is destroyed."
    )
    retention_until: str | None = Field(
        None,
        description="Date, YYYY-MM-DD, by which the ledger is destroyed. After that day `anon-batch verify` finds a fault unless "
        "the release has a record that it was.",
    )
    source_licence: str | None = Field(
        None, max_length=_SHORT, description="Licence or terms of the source: an SPDX identifier, an address, or words."
    )
    licence: str | None = Field(
        None, max_length=_SHORT, description="Licence of the release: an SPDX identifier, an address, or words."
    )
    citation: str | None = Field(None, max_length=_LONG, description="How to cite the release.")
    uses: str | None = Field(
        None, max_length=_LONG, description="Uses that the release is meant for, and uses that it is not meant for."
    )
    social_impact: str | None = Field(
        None, max_length=_LONG, description="Effects on people and groups that its use may have."
    )
    maintenance: str | None = Field(
        None,
        max_length=_LONG,
        description="Who maintains the release, how errors are reported, and how long it stays available.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_public_text(cls, value: Any) -> Any:
        # Because YAML reads a date without quotes as one.
        text = value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value
        return None if text is None else check_public_text(text) or None

    @field_validator("retention_until")
    @classmethod
    def _is_date(cls, value: str | None) -> str | None:
        if value is not None and (not _DATE.fullmatch(value) or not _is_calendar_day(value)):
            raise ValueError("expected a date such as 2028-12-31")
        return value


def _is_calendar_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def check_public_text(value: object) -> str:
    """Return text of the owner that a release shows, without the space around it.

    Raises:
        ValueError: it is no text, holds invisible characters, or claims what no release may claim.
    """
    if not isinstance(value, str):
        raise ValueError("expected text; put it between quotes")
    if found := _INVISIBLE.search(value):
        raise ValueError(f"holds the invisible character U+{ord(found[0]):04X}; remove it")
    if claims := claims_in(value):
        raise ValueError(
            f"says {claims[0]!r}, which no release may claim about itself: say what was done, and leave the judgement to those "
            "who have to make it"
        )
    return value.strip()
