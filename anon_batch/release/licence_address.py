"""The address of a licence that an owner names, in SPDX's list of licences."""

from __future__ import annotations

import re

from anon_batch.release.creative_commons import elements_of

# Licences of data and of code that data sets use, beside Creative Commons.
_IDENTIFIERS = (
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause"),
    *("ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0"),
    *("C-UDA-1.0", "O-UDA-1.0", "OGL-UK-3.0", "etalab-2.0", "DL-DE-BY-2.0"),
)
_ADDRESS = re.compile(r"https?://[^\s<>\"]+\Z")
_VERSION = re.compile(r"\b([1234]\.[05])\b")
_ORDER = ("by", "nc", "nd", "sa")


def address_of(licence: str) -> str | None:
    """Return the address that a licence is, or that SPDX has for its name; None for words that name no known one."""
    text = licence.strip()
    if _ADDRESS.match(text):
        return text
    known = {identifier.lower(): identifier for identifier in _IDENTIFIERS}.get(text.lower())
    known = known or _creative_commons(text)
    return None if known is None else f"https://spdx.org/licenses/{known}.html"


def _creative_commons(text: str) -> str | None:
    elements, versions = elements_of(text), _VERSION.findall(text)
    if elements is None or len(versions) > 1 or len(text) > 40:
        return None  # because a longer text may name conditions of its own
    if not elements:
        return "CC0-1.0"
    if not versions or "2.5" < versions[0] < "3.0":
        return None
    return "-".join(["CC", *(name.upper() for name in _ORDER if name in elements), versions[0]])
