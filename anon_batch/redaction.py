"""Take credentials out of text that is shown, logged or kept."""

from __future__ import annotations

import re

_HIDDEN = "***"
_QUERIED = r"(?:https?|ftps?|wss?|abfss?|az|adl)"  # schemes whose query may hold a signature; `?` is part of an S3 key
_RULES = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@'\"]*:[^/\s@'\"]*@", re.I), rf"\1{_HIDDEN}@"),
    (re.compile(r"(\b(?:https?|ftps?|wss?)://)[^/\s@'\"]+@", re.I), rf"\1{_HIDDEN}@"),
    (re.compile(rf"(\b{_QUERIED}://[^\s?'\"<>]*)\?[^\s'\"<>\])]+", re.I), rf"\1?{_HIDDEN}"),
    (
        re.compile(
            r"((?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|AWSAccessKeyId|AccountKey|"
            r"SharedAccessSignature|Signature|\bsig|access_token|\btoken|api[-_]?key|password|secret(?:[-_]access[-_]key)?)"
            r"['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;)\]]+",
            re.I,
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _HIDDEN),
)


def redact(text: str) -> str:
    """Return the text without passwords in addresses, query strings of addresses, signatures, tokens and keys."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_address(uri: str) -> str:
    """Return one address without password and query string, whatever signs it holds."""
    scheme, separator, rest = uri.partition("://")
    if separator and re.fullmatch(_QUERIED, scheme.rpartition("::")[2], re.I):
        path, query, _ = rest.partition("?")
        uri = f"{scheme}://{path}?{_HIDDEN}" if query else uri
    return redact(uri)


_PATH_OF_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s'\"]*)/[^\s'\"]*", re.I)


def hide_address(text: str, uri: str) -> str:
    """Return the text without a source's address: no path of it or of any other URL. Hosts and buckets stay."""
    path = uri.partition("://")[2] or uri
    for part in (uri, path, path.partition("/")[2]):
        text = text.replace(part, "...") if len(part) > 1 else text
    return _PATH_OF_URL.sub(r"\1/...", text)
