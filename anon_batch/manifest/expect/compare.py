"""Name what sources lack, and what they have besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.check_ids import one_array, to_mask
from anon_batch.manifest.expect.expected import Expectation
from anon_batch.manifest.expect.known import DATASETS, KnownDataset
from anon_batch.manifest.importers.report import printable
from anon_batch.manifest.joins.partners import find_partners
from anon_batch.manifest.joins.spellings import base_alike, comparable
from anon_batch.manifest.rows import Rows
from anon_batch.units import format_counted

_SHOWN = 5
_TRAINING = DATASETS["imagenet-1k-train"].names


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows without those whose names are of other datasets that are expected too.

    Args:
        rows: all.
        besides: regular expression (RE2) of the names to leave out; "" for none.
    """

    rows: Rows
    besides: str = ""

    def ids(self) -> Iterator[pa.Array]:
        for table in self.rows.tables():
            ids = one_array(table, "image_id")
            yield (
                ids.filter(pc.invert(pc.match_substring_regex(base_alike(ids), self.besides))) if self.besides else ids
            )


def check_expected(rows: Rows, expectations: Sequence[Expectation]) -> None:
    """Compare rows with what is expected: with all known datasets together, and with each file.

    Raises:
        ManifestError: they differ; names the first images, classes or folders that are missing, or are there besides.
    """
    for expectation, besides in _together(expectations):
        differences = [text for text in _differences(_Part(rows, besides), expectation) if text]
        if differences:
            raise ManifestError(
                f"--expect {expectation.given}: {'; '.join(differences)}. Nothing is written; without --expect all is listed"
            )


def _together(expectations: Sequence[Expectation]) -> Iterator[tuple[Expectation, str]]:
    """Yield what to compare, and the names that belong to another known dataset.

    Known datasets whose names are alike, as those of COCO's splits are, are compared by their total.
    """
    alike: dict[str, Expectation] = {}
    for own in expectations:
        if own.classes is not None:
            known = {other.dataset.names for other in expectations if other.dataset is not None} - {_TRAINING}
            yield own, "|".join(sorted(known))
        elif own.dataset is None:
            yield own, ""
        elif (before := alike.get(own.dataset.names)) is None or before.dataset is None:
            alike[own.dataset.names] = own
        elif own.given not in before.given.split(" --expect "):
            total = replace(before.dataset, total=before.dataset.total + own.dataset.total)
            alike[own.dataset.names] = Expectation(f"{before.given} --expect {own.given}", dataset=total)
    for names, own in alike.items():
        yield own, "|".join(other for other in alike if other != names)


def _differences(rows: _Part, expected: Expectation) -> Iterator[str]:
    if expected.dataset is not None:
        yield from _of_dataset(rows, expected.dataset)
    elif expected.ids is not None:
        yield from _of_ids(rows, expected.ids, expected.given)
    elif expected.classes is not None:
        counts, others = _count_classes(rows, _TRAINING)
        yield from _of_counts(counts, expected.classes, "class")
        yield _named("with a name of another kind", others)
    elif expected.folders is not None:
        counts = _count_folders(rows, by_path=any("/" in folder for folder in expected.folders))
        yield from _of_counts(counts, expected.folders, "folder")


def _of_dataset(rows: _Part, known: KnownDataset) -> Iterator[str]:
    count = sum(map(len, rows.ids()))
    if count != known.total:
        yield f"{format_counted(count, 'image')} instead of {known.total:,}"
    if known.numbered:
        yield from _of_numbers(rows, known)
        return
    counts, others = _count_classes(rows, known.names)
    if known.classes:
        if len(counts) != known.classes:
            yield f"classes: {len(counts):,} instead of {known.classes:,}"
        low, high = known.per_class
        yield _listed(
            [
                f"{name} has {format_counted(count, 'image')}"
                for name, count in sorted(counts.items())
                if not low <= count <= high
            ],
            f"a class has {low:,} to {high:,} images, but ",
        )
    yield _named("with a name of another kind", others)


def _of_numbers(rows: _Part, known: KnownDataset) -> Iterator[str]:
    """Yield what is wrong with images that are numbered from 1."""
    seen = np.zeros(known.total + 1, np.int64)
    others: list[str] = []
    for ids in rows.ids():
        numbers = pc.struct_field(pc.extract_regex(base_alike(ids), known.names), "number").cast(pa.int64())
        numbers = pc.fill_null(
            pc.if_else(pc.and_(pc.greater(numbers, 0), pc.less_equal(numbers, known.total)), numbers, 0), 0
        )
        at = numbers.to_numpy(zero_copy_only=False)
        others += _first(ids, at == 0, others)
        seen += np.bincount(at, minlength=known.total + 1)
    missing, again = np.flatnonzero(seen[1:] == 0) + 1, np.flatnonzero(seen[1:] > 1) + 1
    yield _listed([known.numbered.format(number) for number in missing.tolist()], "missing: ")
    yield _listed([known.numbered.format(number) for number in again.tolist()], "more than once: ")
    yield _named("with a name of another kind", (int(seen[0]), others))


def _of_ids(rows: _Part, ids: pa.Array, given: str) -> Iterator[str]:
    partners = find_partners(rows.ids, lambda: [ids], f"--expect {given}")
    missing = np.flatnonzero(~partners.used)
    yield _named("missing", (len(missing), [printable(ids[at].as_py()) for at in missing[:_SHOWN].tolist()]))
    surplus, start = partners.line_of < 0, 0
    shown: list[str] = []
    for own in rows.ids():
        shown += _first(own, surplus[start : start + len(own)], shown)
        start += len(own)
    yield _named("not expected", (int(surplus.sum()), shown))


def _of_counts(counts: Mapping[str, int], expected: Mapping[str, int], what: str) -> Iterator[str]:
    wrong = [name for name in sorted({*counts, *expected}) if counts.get(name, 0) != expected.get(name, 0)]
    yield _listed(
        [
            f"{what} {printable(n)} has {format_counted(counts.get(n, 0), 'image')} instead of {expected.get(n, 0):,}"
            for n in wrong
        ],
        "",
    )


def _count_classes(rows: _Part, names: str) -> tuple[Counter[str], tuple[int, list[str]]]:
    """Return class -> images, by their file names, and how many have other names, with the first of these."""
    counts: Counter[str] = Counter()
    others: list[str] = []
    others_count = 0
    for ids in rows.ids():
        plain = base_alike(ids)
        is_other = ~to_mask(pc.match_substring_regex(plain, names))
        others_count += int(is_other.sum())
        others += _first(ids, is_other, others)
        if "(?P<class>" in names:
            _add(counts, pc.struct_field(pc.extract_regex(plain, names), "class").drop_null())
    return counts, (others_count, others)


def _count_folders(rows: _Part, *, by_path: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for ids in rows.ids():
        folders = pc.replace_substring_regex(comparable(ids), "(?s)(^|/)[^/]*$", "")
        _add(counts, folders if by_path else pc.replace_substring_regex(folders, "(?s)^.*/", ""))
    return counts


def _add(counts: Counter[str], names: pa.Array) -> None:
    for found in pc.value_counts(names).to_pylist():
        counts[found["values"]] += found["counts"]


def _first(ids: pa.Array, chosen: npt.NDArray[np.bool_], shown: Sequence[str]) -> list[str]:
    return [printable(ids[at].as_py()) for at in np.flatnonzero(chosen)[: _SHOWN - len(shown)].tolist()]


def _named(what: str, found: tuple[int, Sequence[str]]) -> str:
    count, shown = found
    if not count:
        return ""
    more = f", and {count - len(shown):,} more" if count > len(shown) else ""
    return f"{format_counted(count, 'image')} {what}: {', '.join(shown)}{more}"


def _listed(texts: Sequence[str], before: str) -> str:
    if not texts:
        return ""
    more = f", and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return before + ", ".join(texts[:_SHOWN]) + more
