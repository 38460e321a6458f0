"""Clean the cells of a column: remove keys that may not be published, and blank texts that lead somewhere.

Lists are transparent: the key `url` of the items of `objects` is called `objects.url`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from anon_batch.manifest.publish.names import kind_of_name
from anon_batch.manifest.publish.structured import UNREADABLE, Folded, Unreadable, fold, unfold
from anon_batch.manifest.publish.values import kind_of_text, kinds_of_texts

Path = tuple[str, ...]
Holds = Literal["flag", "number", "anything"]
HIDDEN_KEY = "*"  # stands for a key that leads somewhere itself, so that no report shows it
_MAX_PATHS = 500
_OTHERS = "(others)"
_MAX_NAME = 100
_JSON = "json"


class Cleaner:
    """Clean columns and count what that took.

    Args:
        withheld: dotted path -> kind, of what was withheld because of its values in a sample.
        listed: dotted paths that are published as they are.

    Attributes:
        removed: dotted path -> kind of the keys that were removed.
        blanked: (dotted path, kind) -> texts that were blanked.
        seen: dotted path -> texts that were looked at.
        known: dotted paths of all keys, whatever happened to them.
    """

    def __init__(self, withheld: Mapping[str, str], listed: Collection[str]) -> None:
        self._withheld = withheld
        self._listed = frozenset(listed)
        self._kinds: Mapping[str, str] = {}
        self.removed: dict[str, str] = {}
        self.blanked: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.known: set[str] = set()

    def column(self, name: str, cells: Sequence[Any]) -> list[Any]:
        """Return the cells of a column, cleaned; None stands for what was blanked."""
        must = name.lower().rpartition(".")[2] == _JSON
        unfolded = [unfold(cell, must=must) for cell in cells]
        texts = set(self._texts(unfolded, (name,)))
        broken = {text for text in texts if not _is_text(text)}
        self._kinds = {**kinds_of_texts(texts - broken), **dict.fromkeys(broken, UNREADABLE)}
        return [self._clean(cell, (name,)) for cell in unfolded]

    def kind_of_key(self, path: Path, holds: Holds = "anything") -> str | None:
        """Return why a column, or a key inside one, may not be published; None if it may.

        Args:
            path: names, the outermost first.
            holds: a flag names nobody, and a number is no name.
        """
        if holds != "flag" and (kind := self._withheld.get(".".join(path))) is not None:
            return kind
        return _kind_of_name(path, holds)

    def _texts(self, value: Any, path: Path) -> Iterator[str]:
        """Yield the texts to judge: all but those below keys that are removed, or listed, by their names."""
        if isinstance(value, str):
            yield value
        elif isinstance(value, Folded):
            yield from self._texts(value.value, path)
        elif isinstance(value, list) or type(value) is tuple:
            for inner in value:
                yield from self._texts(inner, path)
        elif isinstance(value, dict):
            for key, inner in value.items():
                own = (*path, key)
                if ".".join(own) not in self._listed and self._kind_of(own, inner) is None:
                    yield from self._texts(inner, own)

    def _clean(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Unreadable):
            self.seen[_capped(path, self.seen)] += 1
            self._blank(path, UNREADABLE)
            return None
        if isinstance(value, Folded):
            if not isinstance(value.value, str):  # because one that cannot be read says little about those that can
                self.seen[_capped(path, self.seen)] += 1
            inner = self._clean(value.value, path)
            return None if inner is None else value.text if inner == _bare(value.value) else fold(inner)
        if isinstance(value, dict):
            return dict(pair for pair in (self._pair(k, v, path) for k, v in value.items()) if pair is not None)
        if isinstance(value, list) and value and all(type(inner) is tuple for inner in value):  # a map
            return [pair for pair in (self._pair(k, v, path) for k, v in value) if pair is not None]
        if isinstance(value, list):
            return [self._clean(inner, path) for inner in value]
        return value

    def _pair(self, key: Any, value: Any, path: Path) -> tuple[Any, Any] | None:
        name = key if isinstance(key, str) else str(key)
        own = (*path, name)
        if ".".join(own) in self._listed:
            self.known.add(".".join(own))
            return key, _bare(value)
        kind = self._kind_of(own, value)
        dotted = _capped(own, self.known)
        self.known.add(dotted)
        if kind is not None:
            self.removed[dotted] = kind
            return None
        return key, self._clean(value, own)

    def _kind_of(self, path: Path, value: Any) -> str | None:
        is_flag, is_number = isinstance(value, bool), isinstance(value, (int, float))
        return self.kind_of_key(path, "flag" if is_flag else "number" if is_number else "anything")

    def _text(self, text: str, path: Path) -> str | None:
        self.seen[_capped(path, self.seen)] += 1
        if (kind := self._kinds.get(text)) is None:
            return text
        self._blank(path, kind)
        return None

    def _blank(self, path: Path, kind: str) -> None:
        self.blanked[_capped(path, self.seen), kind] += 1


@lru_cache(10_000)
def _kind_of_name(path: Path, holds: Holds) -> str | None:
    """Return what a key leads to by its words, or because it is an address or the like itself."""
    by_words = None if holds == "flag" else kind_of_name(path[-1], path[:-1], is_number=holds == "number")
    return kind_of_text(path[-1]) or by_words


def _bare(value: Any) -> Any:
    """Return an unfolded value as it was."""
    if isinstance(value, (Folded, Unreadable)):
        return value.text
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items()}
    return type(value)(_bare(inner) for inner in value) if isinstance(value, (list, tuple)) else value


def _capped(path: Path, known: Collection[str]) -> str:
    shown = show(path)
    return shown if shown in known or len(known) < _MAX_PATHS else f"{path[0]}.{_OTHERS}"


@lru_cache(10_000)
def show(path: Path) -> str:
    """Return a dotted path that may be shown: without names that are addresses or the like, and not too long."""
    shown = ".".join(HIDDEN_KEY if kind_of_text(name) else name for name in path)
    dotted = "".join(char if char.isprintable() else "?" for char in shown)
    return dotted if len(dotted) <= _MAX_NAME else f"{dotted[:_MAX_NAME]}..."


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
