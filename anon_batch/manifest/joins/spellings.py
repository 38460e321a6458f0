"""The ways in which a table may write the id of an image, the surest first."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.formats.layout import IMAGE_SUFFIXES
from anon_batch.manifest.names import suffixed

_SUFFIX = rf"(?i)([^/.][^/]*)\.(?:{'|'.join(s.removeprefix('.') for s in IMAGE_SUFFIXES)})$"
_JPEG = r"(?i)\.(?:jpe|jpeg|jpg|jfif)$"
_WITH_CLASS = r"(^|/)(n\d{8}_\d+|ILSVRC2012_val_\d{8})_n\d{8}\.jpg$"


def as_written(names: pa.Array) -> pa.Array:
    """Return the names as they are."""
    return names


def comparable(names: pa.Array) -> pa.Array:
    """Return names composed, with `/`, without `./` or `/` at the front; see `unicode_names.comparable`."""
    composed = pc.utf8_normalize(names, "NFC")
    return pc.replace_substring_regex(pc.replace_substring(composed, "\\", "/"), r"^(\./|/)+", "")


def without_suffix(names: pa.Array) -> pa.Array:
    """Return comparable names without the suffix of an image."""
    return pc.replace_substring_regex(comparable(names), _SUFFIX, r"\1")


def alike(names: pa.Array) -> pa.Array:
    """Return comparable names in which `.JPEG` is `.jpg`, and ImageNet's names lack the class that the Hugging Face hub appends.

    Source: the script of ILSVRC/imagenet-1k, whose archives hold `<name>_<class>.JPEG`.
    """
    plain = pc.replace_substring_regex(comparable(names), _JPEG, ".jpg")
    return pc.replace_substring_regex(plain, _WITH_CLASS, r"\1\2.jpg")


def base_alike(names: pa.Array) -> pa.Array:
    """Return the last segments of names that are alike."""
    return base_name(alike(names))


def base_name(names: pa.Array) -> pa.Array:
    """Return the last segments of comparable names."""
    return pc.replace_substring_regex(comparable(names), "(?s)^.*/", "")


def base_stem(names: pa.Array) -> pa.Array:
    """Return the last segments of comparable names, without the suffix of an image."""
    return pc.replace_substring_regex(base_name(names), _SUFFIX, r"\1")


Spelling = Callable[[pa.Array], pa.Array]

# Without its suffix an image is meant only by a name that has none: `a.jpg` in a table is not the image `a.png`.
SPELLINGS: tuple[tuple[Spelling, bool], ...] = (
    (as_written, False),
    (comparable, False),
    (without_suffix, True),
    (base_name, False),
    (base_stem, True),
    (alike, False),
    (base_alike, False),
)


def has_no_suffix(names: pa.Array) -> pa.Array:
    """Return which names, (N,), do not end as the name of an image does."""
    return pa.array(~suffixed(names))
