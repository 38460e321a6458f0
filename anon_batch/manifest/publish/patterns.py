"""Patterns of texts that lead to a source or a person.

Each is written in what RE2 and Python share, and repeats at most a bounded number of times, so that a hostile text of a million
characters takes milliseconds. Names of persons are not here, because they look like other words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from anon_batch.manifest.publish.names import ACCOUNT, ADDRESS, CONTACT, CREDENTIAL, DEVICE, DIGEST, PERSON, PLACE

_MEDIA = "jpe?g|jpe|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|jxl|svg|cr2|cr3|nef|arw|dng|mp4|mov|avi|mkv|webm|pdf|psd"
_TOP = (
    "com|org|net|edu|gov|mil|info|biz|io|ai|app|dev|me|tv|cc|eu|de|uk|fr|es|it|nl|ch|at|pl|ru|cn|jp|kr|in|br|au|ca|us"
)
_SHORT = (
    "ly|gl|gd|be|co|to|la|so|st|sh|link|page|site|xyz|shop|blog|cloud|gg|id|im|is|ws"  # of shorteners and small sites
)
_HOST = "[a-z0-9-]{1,63}(?:[.][a-z0-9-]{1,63}){0,4}"
HARMLESS = re.compile(  # whole texts that lead to nobody: addresses of licences, and the class names of Open Images
    r"/[mg]/[0-9a-z_]{2,12}|\s{0,9}https?://(?:www[.])?"
    r"(?:creativecommons[.]org/(?:licenses|publicdomain)|opensource[.]org/licenses?|spdx[.]org/licenses)"
    r"/[a-z0-9./+_-]{0,60}\s{0,9}",
    re.IGNORECASE | re.ASCII,
)


class Rule(NamedTuple):
    """What a text holds if a pattern is found in it.

    Args:
        kind: what it leads to.
        pattern: a regular expression, searched anywhere.
        confirm: returns whether what was found counts; None accepts it.
    """

    kind: str
    pattern: str
    confirm: Callable[[str], bool] | None = None


def _is_digest(found: str) -> bool:
    """Return whether hexadecimal digits are mixed as in a digest: a number has no letter but an exponent, a word no digit."""
    digits = found.lower().removeprefix("0x")
    return any(c.isdigit() for c in digits) and sum(c in "abcdef" for c in digits) > 1


def _is_random(found: str) -> bool:
    """Return whether a long token looks encoded: capitals, small letters and digits, and not words with separators."""
    words = re.split(r"[-_/+]", found)
    joined = len(words) >= 4 and max(map(len, words)) <= 16
    return not joined and all(any(map(test, found)) for test in (str.isdigit, str.isupper, str.islower))


def _is_base32(found: str) -> bool:
    return any(map(str.isdigit, found)) and any(map(str.isalpha, found))


def _is_phone_number(found: str) -> bool:
    """Return whether groups of digits that start with a trunk zero have as many digits as a phone number."""
    return 9 <= sum(map(str.isdigit, found)) <= 13


def _is_small_base32(found: str) -> bool:
    """Return whether small letters and digits change as in a code, because long words hold few digits, and at one end."""
    return sum(a.isdigit() != b.isdigit() for a, b in pairwise(found)) >= 4


def _is_ulid(found: str) -> bool:
    return not found.isdigit()


def _is_token(found: str) -> bool:
    """Return whether capitals, small letters and digits change as often as in a random token, not as in a name with a year."""
    kinds = [(char.isdigit(), char.isupper()) for char in found.strip()]
    return sum(a != b for a, b in pairwise(kinds)) >= 10 and _is_random(found)


def _is_place(found: str) -> bool:
    first, second = (abs(float(number)) for number in re.findall(r"\d{1,3}\.\d+", found)[:2])
    return first <= 90 and second <= 180 and max(first, second) > 1


RULES: Sequence[Rule] = (
    Rule(
        CREDENTIAL, r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[A-Za-z0-9_-]{10,99}|\b(?:gh[pousr]|hf|sk)_[A-Za-z0-9]{20,80}"
    ),
    Rule(CREDENTIAL, r"(?i:-----begin [a-z ]{0,30}private key)"),
    Rule(CREDENTIAL, r"(?i:\b(?:x-(?:amz|goog)-[a-z]{1,20}|access_?token|api_?key|password)\s{0,3}[=:]\s{0,3}\S)"),
    Rule(CREDENTIAL, r"(?i:\bbearer\s[a-z0-9+/_.-]{5,40}[0-9])"),
    Rule(CREDENTIAL, r"\b(?:sk-|xox[abp]-|glpat-)[A-Za-z0-9_-]{8}"),
    Rule(CONTACT, r"[^\s@](?:@|%40)[^\s@]{1,80}[.][^\s@.,;)]"),
    Rule(CONTACT, rf"(?i:\w\s{{1,3}}@\s{{0,3}}{_HOST}\s?[.]\s?(?:{_TOP})\b)"),
    Rule(CONTACT, rf"(?i:\w\sat\s{_HOST}(?:[.]|\sdot\s)(?:{_TOP})\b)"),
    Rule(CONTACT, r"(?i:\w\s?[\[(]at[\])]\s?[a-z0-9-]{1,63}\s?(?:[.]|[\[(]dot[\])])\s?[a-z])"),
    Rule(ADDRESS, r"(?i:\b[a-z][a-z0-9+.-]{1,20}(?::|%3a)(?:\\{0,4}/|%2f){2}|\bwww\d?[.][a-z0-9-])"),
    Rule(ADDRESS, r"(?i:\b(?:data:[a-z]{1,20}/|mailto:\S|file:\S|urn:\S)|^\s{0,9}//[a-z0-9-]{1,63}[.][a-z0-9-])"),
    Rule(ADDRESS, rf"(?i:\b{_HOST}[.](?:{_TOP})(?::\d{{1,5}})?/\S)"),
    Rule(ADDRESS, rf"(?i:\b{_HOST}[.](?:{_SHORT})/[a-z0-9_-])"),
    Rule(ADDRESS, rf"(?i:^\s{{0,9}}{_HOST}[.](?:{_TOP})/?\s{{0,9}}$)"),
    Rule(ADDRESS, r"^\s{0,9}(?:/[^/\s]{1,200}(?:/|\s{0,9}$)|~/|\\\\\S|[A-Za-z]:[\\/]|[.]{1,2}/)"),
    Rule(
        ADDRESS, r"(?:^|[\s\"'=(,;:])(?:/[\w.@+-]{1,100}){2}|(?:^|[\s\"'=(,;])[A-Za-z]:\\{1,2}[\w.-]|\\\\[\w.-]{1,60}\\"
    ),
    Rule(ADDRESS, r"^\s{0,9}[^\s/\\]{1,200}(?:[/\\][^\s/\\]{1,200}){1,30}[.][A-Za-z][A-Za-z0-9]{1,5}\s{0,9}$"),
    Rule(ADDRESS, rf"(?i:[^\s\"'(/\\.][.](?:{_MEDIA})(?:$|[\s\"'),;:?]))"),
    Rule(DIGEST, r"(?i:\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"),
    Rule(DIGEST, r"(?i:\b(?:0x)?[0-9a-f]{16,256}\b)", _is_digest),
    Rule(DIGEST, r"(?i:\b(?:md5|sha-?(?:1|224|256|384|512)|blake[23]\w{0,2}|[apdw]hash)\s{0,2}[:=-]\s{0,2}[\w+/]{8})"),
    Rule(
        DIGEST,
        r"^\s{0,9}(?:[A-Za-z0-9+/_-]{22}==|[A-Za-z0-9+/_-]{27}=|[A-Za-z0-9+/_-]{43}=|[A-Za-z0-9+/_-]{86}==)\s{0,9}$",
    ),
    Rule(DIGEST, r"[A-Za-z0-9+/_-]{40,400}", _is_random),
    Rule(DIGEST, r"^\s{0,9}[A-Za-z0-9_-]{20,39}\s{0,9}$", _is_token),
    Rule(DIGEST, r"\b(?:[A-Z2-7]{26}|[A-Z2-7]{32}|[A-Z2-7]{52})\b", _is_base32),
    Rule(DIGEST, r"\b(?:[a-z2-7]{26}|[a-z2-7]{32}|[a-z2-7]{52})\b", _is_small_base32),
    Rule(DIGEST, r"\b0[0-9A-HJKMNP-TV-Z]{25}\b", _is_ulid),
    Rule(PLACE, r"(?i:\bgps[a-z_ ]{0,20}(?:latitude|longitude|position|coord))"),
    Rule(PLACE, r"(?i:\b(?:lat|latitude|lon|lng|longitude)\W{1,4}[-+]?\d{1,3}[.]\d)"),
    Rule(PLACE, r"\d(?:[.]\d{1,10})?\s{0,2}°\s{0,2}(?:\d{1,2}\s{0,2}[′'’]|[NSEWO]\b)"),
    Rule(PLACE, r"(?i:\d{1,3}\s{0,2}(?:deg|[ºo])\s{0,2}\d{1,2}(?:[.]\d{1,9})?\s{0,2}['’′])"),
    Rule(PLACE, r"\d[.]\d{1,10}\s{0,2}[NS]\W{1,3}\d{1,3}[.]\d{1,10}\s{0,2}[EWO]\b"),
    Rule(PLACE, r"(?i:\bpoint\s{0,2}z?\s{0,2}\(\s{0,2}[-+]?\d|\bgeo:[-+]?\d|^\s{0,9}///\w)"),
    Rule(
        PLACE,
        r"^\s{0,9}[\[(]?\s{0,3}[-+]?\d{1,2}[.]\d{2,17}\s{0,3}[,; ]\s{0,3}[-+]?\d{1,3}[.]\d{2,17}\s{0,3}[\])]?\s{0,9}$",
        _is_place,
    ),
    Rule(PLACE, r"(?:^|\s)[23456789CFGHJMPQRVWX]{8}[+][23456789CFGHJMPQRVWX]{2,3}(?:$|[\s,])"),
    Rule(DEVICE, r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)[.]){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
    Rule(DEVICE, r"(?i:\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b|\b(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}\b)"),
    Rule(DEVICE, r"(?i:\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b)"),
    Rule(CONTACT, r"(?:^|[^\w.])[+]\d[\d ().-]{6,18}\d\b|(?i:\btel(?::|[.]:|efon\W)\s{0,2}[\d(+])"),
    Rule(CONTACT, r"(?:^|[^\w.-])(?:\(\d{3}\)\s{0,2}|\d{3}[-. ])\d{3}[-. ]\d{4}(?:$|[^\w.-])"),
    Rule(
        CONTACT, r"(?:^|[^\w.-])0\d(?:[ .-]\d{2}){4}(?:$|[^\w.-])|(?:^|[^\w.-])\(?0\d{2,4}\)?[ /-]\d{5,9}(?:$|[^\w.-])"
    ),
    Rule(CONTACT, r"(?:^|[^\w.-])\(?0\d{1,5}\)?(?:[ /-]\d{2,5}){2,5}(?:$|[^\w.-])", _is_phone_number),
    Rule(CONTACT, r"\b00\d{2}[ -]\d[\d -]{5,14}\d\b"),
    Rule(PERSON, r"(?:^|[^\w.-])(?:\d{3}-\d{2}-\d{4}|(?:\d{4}[ -]){3}\d{4})(?:$|[^\w.-])"),
    Rule(PERSON, r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    Rule(
        PERSON,
        r"(?:(?i:\b(?:photo(?:s|graph|graphs|graphy)?|image|pic(?:ture)?|foto|shot|taken|made|drawn)\s{1,3}by\s{1,3}"
        r"|\bcourtesy\s{1,3}of\s{1,3}|\b(?:photo|foto|credits?|photographer|author|copyright|by)\s{0,3}:\s{0,3})"
        r"|(?:©|\([cC]\))\s{0,3}(?:\d{4}\s{0,3})?(?:[bB]y\s)?)[A-Z][a-z]",
    ),
    Rule(ACCOUNT, r"(?:^|[\s(\"'])@[A-Za-z_]\w{2,30}\b|\b\d{6,10}@N\d{2}\b"),
    Rule(CREDENTIAL, r"(?i:\b(?:token|passwd|pwd|client_secret|sig)\s{0,2}[=:]\s{0,2}[a-z0-9+/_.-]{0,40}[0-9])"),
)
