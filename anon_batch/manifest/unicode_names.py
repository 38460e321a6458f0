"""Names whose accents are composed (NFC) or decomposed (NFD): equal to a reader, different to a file system."""

from __future__ import annotations

import os
import unicodedata

import pyarrow as pa

from anon_batch.storage import is_local


def comparable(name: str) -> str:
    """Return a name as names are compared: composed, with `/`, without `./` or `/` at the front."""
    plain = unicodedata.normalize("NFC", name) if not name.isascii() else name
    plain = plain.replace("\\", "/")
    while plain.startswith(("./", "/")):
        plain = plain.removeprefix("./").lstrip("/")
    return plain


def on_disk(uris: pa.Array) -> pa.Array:
    """Return addresses with local paths spelled as the files are: in the other form where only that exists."""
    texts = uris.to_pylist()
    if all(text is None or text.isascii() for text in texts):
        return uris
    return pa.array([text if text is None or text.isascii() else _existing(text) for text in texts], pa.string())


def _existing(uri: str) -> str:
    if not is_local(uri) or os.path.exists(uri):
        return uri
    return next((form for form in other_spellings(uri) if os.path.exists(form)), uri)


def other_spellings(uri: str) -> list[str]:
    """Return the same address with composed and with decomposed accents, as far as they differ from it."""
    if uri.isascii():
        return []
    return [form for form in (unicodedata.normalize("NFC", uri), unicodedata.normalize("NFD", uri)) if form != uri]
