"""The rows and columns of the worksheet.

Columns: the three risks by which the Article 29 Working Party judges techniques in Opinion 05/2014 (WP216). Rows: clauses of
ISO/IEC 27559:2022, by number and title; what they say is not repeated.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCES = (
    "Article 29 Working Party, Opinion 05/2014 (WP216): singling out, linkability, inference",
    "ISO/IEC 27559:2022: numbers and titles of its clauses",
    "Regulation (EU) 2016/679 (GDPR): Articles 5, 6, 9, 13, 14 and 35 for the record of the processing",
)


class Criterion(NamedTuple):
    """A risk: what it is called, and what it means for images."""

    name: str
    title: str
    question: str


class Clause(NamedTuple):
    """A clause, and the title of the one that it belongs to."""

    number: str
    title: str
    group: str


CRITERIA = (
    Criterion(
        "singling_out",
        "Singling out",
        "Can somebody pick out the image of one person, because a face was missed, or because an attacker who knows the person "
        "finds them among the images?",
    ),
    Criterion(
        "linkability",
        "Linkability",
        "Can somebody tell that two images show the same person, both of the release, or one of another set?",
    ),
    Criterion(
        "inference",
        "Inference",
        "Can somebody learn a trait of the person, such as age, health or origin, from what the image still shows?",
    ),
)
_CONTEXT, _DATA = "6 Context assessment", "7 Data assessment"
_IDENTIFIABILITY, _GOVERNANCE = "8 Identifiability assessment and mitigation", "9 De-identification governance"
CLAUSES = (
    Clause("6.2.2", "Security and privacy practices", _CONTEXT),
    Clause("6.2.3", "Motives and capacity to re-identify", _CONTEXT),
    Clause("6.3.2", "Transparency of actions and stakeholder engagement", _CONTEXT),
    Clause("6.3.3", "Privacy-related harms", _CONTEXT),
    Clause("7.2.2", "Data principals", _DATA),
    Clause("7.2.3", "Data type", _DATA),
    Clause("7.2.4", "Attribute types", _DATA),
    Clause("7.2.5", "Dataset properties", _DATA),
    Clause("7.3.2", "Maximum or average risk", _DATA),
    Clause("7.3.3", "Population or sample-based attack", _DATA),
    Clause("7.3.4", "Data privacy models", _DATA),
    Clause("8.2.2", "Quantifying identifiability", _IDENTIFIABILITY),
    Clause("8.2.3", "Adversarial testing", _IDENTIFIABILITY),
    Clause("8.3.2", "Reconfiguring the environment", _IDENTIFIABILITY),
    Clause("8.3.3", "Transforming the data", _IDENTIFIABILITY),
    Clause("8.3.4", "Re-evaluation", _IDENTIFIABILITY),
    Clause("9.2.2", "Assigning roles and responsibilities", _GOVERNANCE),
    Clause("9.2.3", "Establishing principles, policies and procedures", _GOVERNANCE),
    Clause("9.2.4", "Identifying and managing a data disclosure", _GOVERNANCE),
    Clause("9.2.5", "Communicating with stakeholders", _GOVERNANCE),
    Clause("9.3.2", "Monitoring the data environment", _GOVERNANCE),
    Clause("9.4", "Mitigation in case of incident", _GOVERNANCE),
)
# Key of `compliance` -> what it answers; anonymizing is itself a processing of personal data.
PROCESSING = {
    "controller": "who decides about the processing",
    "contact": "where persons concerned can write to",
    "purpose": "what it is done for",
    "legal_basis": "legal basis",
    "art9_basis": "basis for special categories of data, if any",
    "dpia_reference": "data protection impact assessment",
    "retention": "how long the ledger is kept",
}
