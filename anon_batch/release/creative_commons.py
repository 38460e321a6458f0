"""What a Creative Commons licence asks of anyone who publishes changed images, by the elements of its name.

Source: the deeds and legal codes of Creative Commons 4.0, sections 1 to 3; https://creativecommons.org/share-your-work/cclicenses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = re.compile(r"\bcc[- ]?by((?:[- ](?:nc|nd|sa))*)\b|creativecommons\.org/licenses/by((?:-(?:nc|nd|sa))*)/", re.I)
_ZERO = re.compile(r"\bcc0\b|\bcc[- ]zero\b|creativecommons\.org/publicdomain/zero", re.I)
_ASKS = {
    "by": "Name the authors and the licence, and say that the images were changed.",
    "nc": "No commercial use.",
    "sa": "Changed images may be published under the same licence only, or one that it names as compatible.",
    "nd": "Changed images may not be published under this licence. Anonymized images are changed: get a permission.",
}


def elements_of(text: str) -> frozenset[str] | None:
    """Return the elements of the one Creative Commons licence that a text names, `by`, `nc`, `sa`, `nd`, none for CC0.

    Returns:
        None if it names another licence, or several.
    """
    found = {
        frozenset({"by", *re.findall("nc|nd|sa", (match[1] or match[2] or "").lower())})
        for match in _NAME.finditer(text)
    }
    found |= {frozenset()} if _ZERO.search(text) else set()
    return found.pop() if len(found) == 1 else None


def obligations_of(licence: str, of: str) -> Iterator[str]:
    """Yield what a licence asks; one sentence that says to read it where its name is no Creative Commons one.

    Args:
        licence: as the owner states it.
        of: `source` or `release`. That changed images cannot be published concerns the source alone.
    """
    elements = elements_of(licence)
    if elements is None:
        yield "Read it: anon-batch does not know what it asks."
        return
    if not elements:
        yield "Nothing is asked. Rights of persons in the images are not waived by it."
    yield from (asks for name, asks in _ASKS.items() if name in elements and (name != "nd" or of == "source"))


def contradictions(source: str, release: str) -> Iterator[str]:
    """Yield in which way the licence of a release permits more than that of its source; nothing if either is of another kind."""
    own, other = elements_of(source), elements_of(release)
    if own is None or other is None:
        return
    if "nd" in own:
        yield "The source's licence does not let anybody publish changed images (ND)."
    if "nc" in own and "nc" not in other:
        yield "The source's licence forbids commercial use (NC), the release's permits it."
    if "sa" in own and own != other:
        yield "The source's licence asks for the same licence (SA), the release has another."
    if "by" in own and "by" not in other:
        yield "The source's licence asks to name its authors (BY), the release's does not."
