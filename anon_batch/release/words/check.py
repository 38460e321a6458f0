"""Check that the files of a release claim nothing that no release may claim."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.claims import promises_in
from anon_batch.errors import ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import Destroyed
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.release.report.words import clean
from anon_batch.release.words.statement import NOT_CLAIMED

# Every file of a release that says something in sentences.
WORDED = (layout.CARD, layout.CROISSANT, layout.REPORT, layout.REPORT_JSON, layout.RUN)
_ESCAPED = re.compile(r"\\([^\w\s])")
_UNSEEN = re.compile(r"<style>.*?</style>|<[^>]*>", re.S)


def check_words(release: Release, run: RunJson, destroyed: Destroyed) -> list[str]:
    """Return a line for each word that claims too much in a file of a release, for example `README.md: "safe"`.

    Names and texts that the manifest, the job or its owner gave are not searched here: the job refuses claims in `compliance`.

    Raises:
        StorageError: a file cannot be read.
    """
    quoted = [NOT_CLAIMED, *_strings(run.config), *_strings(run.columns), *(own.said_by for own in destroyed.things)]
    found: list[str] = []
    for key in WORDED:
        try:
            text = readable(key, release.read(key).decode("utf-8", errors="replace"))
        except ObjectNotFoundError:
            continue
        found += [f'{key}: "{word}"' for word in promises_in(text, [*quoted, *map(clean, quoted)])]
    return found


def readable(key: str, text: str) -> str:
    """Return what a reader sees of a file, by its name: no markup, no escapes."""
    if key.endswith(".json"):
        return "\n".join(_strings(json.loads(text)))
    if key.endswith(".html"):
        return html.unescape(_UNSEEN.sub(" ", text))
    return _ESCAPED.sub(r"\1", text)


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)
