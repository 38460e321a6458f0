"""Which image ids are safe as names of outputs, and which lead to the same output; for whole columns at once."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.formats.layout import IMAGE_SUFFIXES
from anon_batch.storage import PARTIAL_PREFIX

MAX_SEGMENT_BYTES = 250  # 255 on common file systems, minus a suffix that may be appended
MAX_ID_BYTES = 900  # 1,024 for a key of S3, minus OUTPUT's own prefix

HashArray = npt.NDArray[np.uint64]

_UNSAFE = "|".join(
    [
        r"(^|/)\.{0,2}(/|$)",  # empty, `.` and `..` segments, and so a slash at either end
        r"[\\\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}]",  # backslash, control characters, line separators
        r"^~",  # a home folder
        r"^[A-Za-z]:",  # a drive
        r"::",  # fsspec reads it as chained file systems
        r"(^|/)" + PARTIAL_PREFIX.replace(".", r"\."),  # deleted as an unfinished write
    ]
)
_UNSAFE_ONE = re.compile(
    re.sub(r"\\x\{([0-9a-f]+)\}", lambda m: f"\\u{int(m[1], 16):04x}", _UNSAFE).replace("$", r"\Z")
)
_ALTERNATIVES = "|".join(s.removeprefix(".") for s in IMAGE_SUFFIXES)
_SUFFIXED = rf"[^/.][^/]*\.({_ALTERNATIVES})$"
_STEM = rf"\.({_ALTERNATIVES})$"
_SUFFIXED_FOLDER = rf"[^/.][^/]*\.({_ALTERNATIVES})/"


def has_image_suffix(name: str) -> bool:
    """Return whether a file has the name of an image; `._x.jpg`, a metadata file of macOS, has not."""
    base = name.rsplit("/", 1)[-1]
    stem, dot, suffix = base.rpartition(".")
    return bool(dot) and bool(stem.strip(".")) and f".{suffix.lower()}" in IMAGE_SUFFIXES and not base.startswith("._")


def unsafe(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which ids, (N,), cannot name an output below a folder or prefix; null and empty ids count as safe."""
    bad = pc.and_(pc.match_substring_regex(ids, _UNSAFE), pc.greater(pc.binary_length(ids), 0))
    out = _to_mask(bad)
    lengths = pc.fill_null(pc.binary_length(ids), 0).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths > MAX_SEGMENT_BYTES):
        segments = ids[int(row)].as_py().encode().split(b"/")
        out[row] |= lengths[row] > MAX_ID_BYTES or max(map(len, segments)) > MAX_SEGMENT_BYTES
    return out


def is_safe(image_id: str) -> bool:
    """Return whether one id can name an output."""
    if not image_id or _UNSAFE_ONE.search(image_id):  # because Arrow takes 300 µs for a single name
        return False
    try:
        encoded = image_id.encode()
    except UnicodeEncodeError:
        return False
    return len(encoded) <= MAX_SEGMENT_BYTES or (
        len(encoded) <= MAX_ID_BYTES and max(map(len, encoded.split(b"/"))) <= MAX_SEGMENT_BYTES
    )


def hashes(texts: pa.Array) -> HashArray:
    """Return a uint64 hash of each string, (N,). It is not cryptographic: compare strings with equal hashes exactly."""
    import pandas as pd  # heavy; only the check needs it

    values = texts.to_numpy(zero_copy_only=False)
    return np.asarray(pd.util.hash_array(values, categorize=False), np.uint64)


def suffixed(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which ids, (N,), end with an image suffix."""
    return _to_mask(pc.match_substring_regex(ids, _SUFFIXED, ignore_case=True))


def in_suffixed_folder(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which ids, (N,), are in a folder that has the name of an image, as in `a.jpg/b.jpg`."""
    return _to_mask(pc.match_substring_regex(ids, _SUFFIXED_FOLDER, ignore_case=True))


def conflicting_names(ids: pa.Array, keep_format: bool) -> tuple[pa.Array, npt.NDArray[np.intp]]:
    """Return names that no other row may have beside these ids, because both would lead to the same output.

    An id without an image suffix gets one when it is written (with a fixed format, one of another format does
    too), so `a` conflicts with `a.jpg`, and a file `a.jpg` with a folder `a.jpg/`.

    Returns:
        (M,) names and (M,) the position in `ids` that each belongs to.
    """
    at = np.flatnonzero(suffixed(ids))
    stems = pc.replace_substring_regex(ids.take(pa.array(at)), f"(?i){_STEM}", "")
    if keep_format:
        bare = ~suffixed(stems)
        at, stems = at[bare], stems.filter(pa.array(bare))
    names, rows = stems.to_pylist() if len(stems) else [], list(at)
    for row in np.flatnonzero(in_suffixed_folder(ids)):
        segments = ids[int(row)].as_py().split("/")
        for depth in range(1, len(segments)):
            if has_image_suffix(segments[depth - 1]):
                folder = "/".join(segments[:depth])
                names += [folder, folder.rpartition(".")[0]]
                rows += [row, row]
    return pa.array(names, pa.string()), np.asarray(rows, np.intp)


def _to_mask(flags: pa.Array) -> npt.NDArray[np.bool_]:
    return np.array(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)
