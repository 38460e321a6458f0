"""The labels that the regions of a ground-truth file get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anon_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Which labels the regions of a ground-truth file get.

    Args:
        label: of every region; None leaves the file's own labels, and `face` where it has none.
        categories: category or label in the file -> label. Regions of other categories are left out; empty uses all.
    """

    label: str | None = None
    categories: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> LabelMap:
        """Return the map that `LABEL` or several `CATEGORY=LABEL` give.

        Raises:
            ConfigError: both forms, several labels, or an empty name.
        """
        pairs = [text.rpartition("=") for text in texts]
        plain = [label for _, separator, label in pairs if not separator]
        if not all(label and (category or not separator) for category, separator, label in pairs):
            raise ConfigError(
                f"labels {', '.join(map(repr, texts))}: expected LABEL or CATEGORY=LABEL, without empty names"
            )
        if len(plain) > 1 or (plain and len(pairs) > 1):
            raise ConfigError(
                f"labels {', '.join(texts)}: expected one LABEL for all regions, or several CATEGORY=LABEL"
            )
        return cls(plain[0]) if plain else cls(None, {category: label for category, _, label in pairs})

    def get(self, category: str) -> str | None:
        """Return the label of a category or label in the file; None leaves its regions out."""
        if self.label is not None:
            return self.label
        return self.categories.get(category) if self.categories else category
