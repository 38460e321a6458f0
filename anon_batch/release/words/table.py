"""The table that the words of a release come from: treatment, and linkage for the holder of ledger and keys and for recipients.

A mode that keeps another key adds a row to `SECRETS`; nothing else changes. The word "anonymous" is in no cell, because whether a
person is identifiable is judged from what each holder knows and can get (recital 26 GDPR; Court of Justice, 4 September 2025,
C-413/23 P, EDPS v SRB), and because destroying every key is not enough for it (EDPB, Guidelines 01/2025, version for
consultation, paragraph 22).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from anon_batch.formats.destroyed_json import IDENTITY_KEY, LEDGER, LINK, RUN_KEY, SEAL
from anon_batch.formats.run_json import RunJson

Treatment = Literal["obfuscated", "replaced", "removed"]
Linkage = Literal["pseudonymised", "linked", "unlinked"]

# Method -> treatment. A method that is not here, of a plug-in, counts as the weakest.
TREATMENTS: Mapping[str, Treatment] = {
    "pixelate": "obfuscated",
    "blur": "obfuscated",
    "gan": "replaced",
    "swap": "replaced",
    "plate": "replaced",
    "mannequin": "replaced",
    "solid": "removed",
    "inpaint": "removed",
}
# The weakest first: it names the whole.
MEANINGS: Mapping[Treatment, str] = {
    "obfuscated": "what is left of the original pixels may be partly reversed or recognised by a trained attacker",
    "replaced": "what a region shows now was made without its original pixels; position and size, and the pose of a face, body "
    "or plate, are still there",
    "removed": "what a region showed is gone; one colour, or what its surroundings suggest, is in its place",
}


class Secret(NamedTuple):
    """Something private that leads back from a release while it exists.

    Args:
        name: as destroyed.json has it.
        leads: what it does for its holder, as the end of a sentence.
        exists: whether a run keeps it.
        consistent: whether it gives a person the same face in several images, which destroying it does not undo.
    """

    name: str
    leads: str
    exists: Callable[[RunJson], bool]
    consistent: bool = False


SECRETS: tuple[Secret, ...] = (
    Secret(LEDGER, "leads from each output to its source", lambda run: True),
    Secret(RUN_KEY, "repeats all random choices, such as those of new faces", lambda run: True),
    Secret(
        IDENTITY_KEY,
        "tells which new face a known person has",
        lambda run: "identity" in run.config,
        consistent=True,
    ),
    Secret(
        SEAL,
        "restores what the regions showed, for everybody who has the private key of a recipient",
        lambda run: "seal" in run.config,
    ),
    Secret(
        LINK,
        "finds a person's images by a photograph, for everybody who has the private key of a recipient",
        lambda run: "link" in run.config,
    ),
)


class Case(NamedTuple):
    """What the linkage depends on.

    Args:
        secret_left: whether a secret is not on record as destroyed.
        consistent: whether a person has the same face in several images.
        columns_lead: whether the job publishes columns that look like addresses, digests, places, persons or accounts.
    """

    secret_left: bool
    consistent: bool
    columns_lead: bool


class Linkages(NamedTuple):
    """The words for the holder of the ledger and the keys, as a rule the controller, and for a recipient of the release alone."""

    holder: Linkage
    recipient: Linkage


LINKAGES: Mapping[Case, Linkages] = {
    Case(secret_left=True, consistent=False, columns_lead=False): Linkages("pseudonymised", "unlinked"),
    Case(secret_left=False, consistent=False, columns_lead=False): Linkages("unlinked", "unlinked"),
    Case(secret_left=True, consistent=False, columns_lead=True): Linkages("pseudonymised", "linked"),
    Case(secret_left=False, consistent=False, columns_lead=True): Linkages("linked", "linked"),
    Case(secret_left=True, consistent=True, columns_lead=False): Linkages("pseudonymised", "pseudonymised"),
    Case(secret_left=False, consistent=True, columns_lead=False): Linkages("pseudonymised", "pseudonymised"),
    Case(secret_left=True, consistent=True, columns_lead=True): Linkages("pseudonymised", "pseudonymised"),
    Case(secret_left=False, consistent=True, columns_lead=True): Linkages("pseudonymised", "pseudonymised"),
}


def count_treatments(methods: Mapping[str, int]) -> dict[Treatment, int]:
    """Return the regions of each treatment, the weakest first; those without a region are left out.

    Args:
        methods: method -> regions that it anonymized.
    """
    regions = dict.fromkeys(MEANINGS, 0)
    for method, count in methods.items():
        regions[TREATMENTS.get(method, "obfuscated")] += count
    return {word: count for word, count in regions.items() if count}


def kept_secrets(run: RunJson, secrets: Sequence[Secret] = SECRETS) -> tuple[Secret, ...]:
    """Return the secrets that a run keeps or kept."""
    return tuple(secret for secret in secrets if secret.exists(run))
