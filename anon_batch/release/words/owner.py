"""What the owner says about a release, in the section `compliance` of the job."""

from __future__ import annotations

from collections.abc import Mapping

from anon_batch.config import ComplianceConfig, validate
from anon_batch.formats import layout
from anon_batch.formats.run_json import RunJson

NOT_STATED = "Not stated by the owner."
# Keys of `compliance` -> what they say, in the order in which they are shown.
LABELS: Mapping[str, str] = {
    "controller": "Controller",
    "contact": "Contact",
    "legal_basis": "Legal basis",
    "art9_basis": "Basis for special categories",
    "purpose": "Purpose",
    "dpia_reference": "Impact assessment",
    "retention": "Retention of the ledger",
    "source_licence": "Licence of the source",
    "licence": "Licence of the release",
    "citation": "Citation",
    "uses": "Uses",
    "social_impact": "Social impact",
    "maintenance": "Maintenance",
}


def owner_words(run: RunJson) -> tuple[tuple[str, str], ...]:
    """Return what the owner says, as (label, text), all that can be said; what is not stated says so.

    Raises:
        ConfigError: run.json holds what no job may say.
    """
    stated = validate(ComplianceConfig, run.compliance, f"{layout.RUN}: compliance").model_dump()
    if stated["retention_until"]:
        stated["retention"] = " ".join(
            filter(None, (stated["retention"], f"Destroyed by {stated['retention_until']}."))
        )
    return tuple((label, stated[key] or NOT_STATED) for key, label in LABELS.items())
