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
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.words import clean
from anon_batch.release.words.statement import NOT_CLAIMED

# Every file of a release that says something in sentences.
WORDED = (
    layout.CARD,
    layout.CROISSANT,
    layout.LICENCES,
    layout.REPORT,
    layout.REPORT_JSON,
    layout.RISK,
    layout.RISK_PAGE,
    layout.RUN,
)
_ESCAPED = re.compile(r"\\([^\w\s])")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_INLINE = re.compile(r"</?(?:a|abbr|b|code|em|i|small|span|strong|tspan)\b[^>]*>")
_UNSEEN = re.compile(r"<style>.*?</style>|<[^>]*>", re.S)
_APART = (
    " | "  # between texts that stand side by side, because cells of a table, read on, may claim what none of them does
)


def check_words(finished: FinishedRelease) -> list[str]:
    """Return a line for each word that claims too much in a file of a release, for example `README.md: "safe"`.

    What the manifest, the job or its owner named is not searched here, such as a class called "safe"; the job refuses claims in
    `compliance`.

    Raises:
        StorageError: a file cannot be read.
    """
    quoted = [NOT_CLAIMED, *_named(finished)]
    quoted += [clean(name) for name in quoted]
    found: list[str] = []
    for key in WORDED:
        try:
            text = readable(key, finished.release.read(key).decode("utf-8", errors="replace"))
        except ObjectNotFoundError:
            continue
        found += [f'{key}: "{word}"' for word in promises_in(text, quoted)]
    return found


def _named(finished: FinishedRelease) -> Iterator[str]:
    """Yield every text that a release shows and that is no sentence of this package."""
    yield from _strings(json.loads(finished.run.to_json()))
    yield from _strings(finished.stats.summary)
    yield from (own.said_by for own in finished.destroyed.things)
    for evidence in finished.evidence.files.values():
        for table in evidence.tables.values():
            yield from _strings(table.rows)


def readable(key: str, text: str) -> str:
    """Return what a reader sees of a file, by its name: no markup, no escapes, no front matter."""
    if key.endswith(".json"):
        return _APART.join(_strings(json.loads(text)))
    if key.endswith(".html"):
        return html.unescape(_UNSEEN.sub(_APART, _INLINE.sub(" ", text)))
    return _ESCAPED.sub(r"\1", _FRONT_MATTER.sub("", text, count=1))


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
