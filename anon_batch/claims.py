"""What the files of a release must not claim, neither in the words of this package nor in those of the owner.

Whether data is anonymous is a question of law and of what others know (recital 26 of the GDPR), so no program can answer it. The
same holds for compliance with a law. `anonymized` as a status, and `anonymize` as what is done, are no claims.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

_LAW = r"(?:GDPR|DSGVO|RGPD|CCPA|HIPAA)"
_ANONYMIZED = r"(?:anonymi[sz]ed|anonymi[sz]ation|de-?identified)"
# What is claimed -> the words that claim it.
CLAIMS: Mapping[str, str] = {
    "anonymous": r"\banonym(?:ous(?:ly|ness)?|ity|e[nrms]?)?\b|\ban[oó]nim[oa]s?\b",
    "anonymized without any rest": rf"\b(?:fully|completely|totally|truly|perfectly|permanently|entirely)[ -]{_ANONYMIZED}\b",
    "the whole in per cent": r"\b100(?:\.0+)? ?% (?:anonym\w*|safe|secure|private|protected|compliant|de-?identified)\b",
    "compliant with a law": (
        rf"\b{_LAW}[- ](?:compliant|proof|safe|ready|konform\w*|conform\w*)\b"
        rf"|\b(?:compliant|complies|in (?:full )?compliance) with (?:the )?(?:EU )?{_LAW}\b"
    ),
    "irreversible": r"\birreversib\w+|\bunrecoverabl\w+",
    "not identifiable": (
        r"\b(?:un|non-?|not |no longer )identifiable\b|\bde-?identified\b|\buntraceable\b"
        r"|\b(?:cannot|can ?not|can't|can never) be (?:re-?)?(?:identified|recogni[sz]ed|traced)\b"
    ),
    "no personal data": r"\b(?:no|not|never|free of|without) (?:any )?personal (?:data|information)\b",
    "no risk": r"\b(?:no|zero|without) (?:privacy |any )?risks?\b|\brisk-free\b|\bprivacy-(?:safe|preserving)\b",
}
# What this package does not promise in its own words either. An owner may write of a secure vault.
PROMISES: Mapping[str, str] = {
    "safe": r"\bsafe(?:ly|ty)?\b",
    "secure": r"\bsecure(?:ly|d)?\b",
    "guaranteed": r"\bguarante\w+",
    "certified": r"\bcertifie[ds]\b|\bcertificate\b",
    "perfect": r"\bperfect(?:ly)?\b|\bunbreakable\b|\bfoolproof\b",
}
_ALL = {**CLAIMS, **PROMISES}


def claims_in(text: str) -> list[str]:
    """Return the words of a text, as it has them, that claim what no release may claim."""
    return list(_found(text, CLAIMS))


def promises_in(text: str, quoted: Iterable[str] = ()) -> list[str]:
    """Return the words that claim or promise too much in a text of this package.

    Args:
        text: of a file of a release.
        quoted: names and sentences that the text repeats and that are no words of this package: they are not searched.
    """
    plain = _plain(text)
    for other in sorted(set(map(_plain, quoted)), key=len, reverse=True):
        if next(_found(other, _ALL), None) is not None:
            plain = re.sub(rf"(?<!\w){re.escape(other)}(?!\w)", " ", plain)
    return list(_found(plain, _ALL))


def _found(text: str, patterns: Mapping[str, str]) -> Iterator[str]:
    plain = _plain(text)
    for pattern in patterns.values():
        yield from dict.fromkeys(match[0] for match in re.finditer(pattern, plain, re.IGNORECASE))


def _plain(text: str) -> str:
    """Return the text with one space between words, in the simplest form of its characters, and with plain hyphens."""
    folded = re.sub("[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFKC", text))
    return " ".join(re.sub("[\u00ad\u200b-\u200f\u2060-\u206f\ufeff]", "", folded).split())
