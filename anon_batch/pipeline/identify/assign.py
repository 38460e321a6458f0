"""Assign faces to persons, once and in one place: the result depends on the faces alone, not on who found them in which order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anon_batch.clustering.neighbours import Features
from anon_batch.clustering.other_people import (
    MIN_IMAGES,
    MIN_PAIRS,
    Expected,
    OtherPeople,
    find_other_people,
    pairs_compared,
)
from anon_batch.clustering.persons import Persons, find_persons
from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.persons import PERSONS_SCHEMA, PersonsJson, PersonStore, to_parquet
from anon_batch.formats.run_json import now
from anon_batch.manifest.chunks import iter_chunks
from anon_batch.manifest.persons import BOX, GROUP, person_token
from anon_batch.pipeline.identify.columns import settings_of
from anon_batch.pipeline.identify.job import IdentifyJob
from anon_batch.pipeline.secret_keys import identity_key_check
from anon_batch.records import FloatArray

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Comparable:
    """The faces that can be compared, in the order of their images' ids and their indices.

    Args:
        at: (N,) their rows in the table of all faces.
        features: (N, D) of length 1.
        images, groups: (N,) numbers.
        boxes: (N, 4) xyxy, px.
    """

    at: _Numbers
    features: Features
    images: _Numbers
    groups: _Numbers
    boxes: FloatArray


def assign(job: IdentifyJob, identity_key: bytes, note: Callable[[str], None]) -> PersonsJson:
    """Find the persons of a pass whose parts are complete, and write them into the ledger.

    Args:
        job: of the pass.
        identity_key: makes the tokens.
        note: called with messages for the user.

    Raises:
        ConfigError: no face can be compared, too few images show two people, or more false pairs are expected than
            the job allows. Nothing is written; the faces stay, encrypted, for the same command with another setting.
        IntegrityError: a part is damaged or missing.
    """
    faces, unread = _read(job)
    own = _comparable(job, faces)
    identity = job.config.identity
    others = find_other_people(own.features, own.images, own.boxes)
    pairs = pairs_compared(own.images, own.groups)
    note(f"{len(faces):,} faces, {len(own.at):,} of them compared: {pairs:,} pairs")
    threshold = identity.threshold or _threshold(others, pairs, identity)
    expected = others.expected(threshold, pairs) if others.is_enough else None
    _check_budget(expected, threshold, identity, others)
    found = find_persons(own.features, own.images, own.groups, threshold)
    data = to_parquet(_table(faces, own, found, identity_key, identity))
    digest = hashlib.sha256(data).hexdigest()
    several = found.sizes > 1
    summary = PersonsJson(
        sha256=digest,
        made_sha256=digest,
        fingerprint=job.plan.fingerprint,
        settings=settings_of(identity),
        rows_sha256=job.plan.rows_sha256,
        identity_key=identity_key_check(identity_key),
        embedder=job.embedder,
        threshold=float(threshold),
        calibrated=identity.threshold is None,
        rows=job.plan.total,
        faces=len(faces),
        compared=len(own.at),
        persons=len(np.unique(found.labels[several])),
        linked=int(several.sum()),
        largest=int(found.sizes.max(initial=0)),
        pairs=pairs,
        expected=None if expected is None else expected._asdict(),
        other_people=others.counts(),
        divided=found.divided,
        unread=dict(sorted(unread.items())),
        made_at=now(),
    )
    PersonStore(job.ledger).put(data, summary)
    return summary


def _read(job: IdentifyJob) -> tuple[pa.Table, Counter[str]]:
    """Return the faces of all rows by row and index, and why rows were not searched."""
    key, unread, tables, at = job.read_key(), Counter[str](), [], 0
    for spec in job.parts():
        if spec.start > at:
            break
        part = job.read_part(spec, key)
        inside = pa.array(np.asarray(part.table.column("row").to_numpy() >= at, np.bool_))
        tables.append(part.table.replace_schema_metadata(None).filter(inside))
        unread.update(part.unread)
        at = spec.stop
    if at != job.plan.total:
        raise IntegrityError(f"{job.ledger.uri}: faces of rows from {at} are missing; run the same command again")
    return pa.concat_tables(tables), unread


def _comparable(job: IdentifyJob, faces: pa.Table) -> _Comparable:
    groups = _groups(job)[faces.column("row").to_numpy()]
    has = np.asarray(faces.column("feature").is_valid().to_numpy()) & (groups >= 0)
    if not has.any():
        raise ConfigError(
            f"no face can be compared: of {len(faces):,} found none has landmarks, a score of 0.5, a group and at least "
            f"{job.config.identity.min_face_px} px (identity.min_face_px)"
        )
    at = np.flatnonzero(has)
    ids = np.array(faces.column("image_id").take(pa.array(at)).to_pylist(), object)
    names, images = np.unique(ids, return_inverse=True)
    del names
    order = np.lexsort((faces.column("face").to_numpy()[at], images))
    at, images = at[order], images[order].astype(np.int64)
    blobs = faces.column("feature").take(pa.array(at)).to_pylist()
    features = np.frombuffer(b"".join(blobs), "<f4").reshape(len(at), -1)
    boxes = np.stack([faces.column(edge).to_numpy()[at] for edge in BOX], axis=1)
    return _Comparable(at, features, images, groups[at], np.asarray(boxes, np.float32))


def _groups(job: IdentifyJob) -> _Numbers:
    """Return the number of the group of each row; -1 for a row of none."""
    known: dict[str, int] = {}
    numbers: list[int] = []
    for _, table in iter_chunks(job.ledger, job.plan.rows_id, job.plan.total):
        own = table.column(GROUP).to_pylist()
        numbers += [-1 if group is None else known.setdefault(group, len(known)) for group in own]
    return np.array(numbers, np.int64)


def _threshold(others: OtherPeople, pairs: int, identity: IdentityConfig) -> float:
    if not others.is_enough:
        raise ConfigError(
            f"identity.threshold is null, and {_enough(others)}: too few to tell how alike different people look in these "
            "images. Name the persons by a column; or take a threshold that was found on images like these, with "
            "--set identity.threshold=T --set identity.max_false_pairs=null, and the release will say that its error is unknown. "
            + _KEPT
        )
    if identity.max_false_pairs is None:
        raise ConfigError(
            "identity.max_false_pairs: null allows any number, so no threshold follows from it; set one of the two"
        )
    found = others.threshold(pairs, identity.max_false_pairs)
    if found is None:
        raise ConfigError(
            f"no threshold up to 0.95 keeps the expected false pairs at {identity.max_false_pairs:g} among {pairs:,} pairs "
            f"(at 0.95: {_say(others.expected(0.95, pairs))}). Compare within groups (identity.scope: group), or larger faces "
            "alone (identity.min_face_px), or allow more with --set identity.max_false_pairs=N. " + _KEPT
        )
    return found


def _check_budget(expected: Expected | None, threshold: float, identity: IdentityConfig, others: OtherPeople) -> None:
    most = identity.max_false_pairs
    if most is None:
        return
    if expected is None:
        raise ConfigError(
            f"{_enough(others)}: too few to tell how many false pairs to expect at {threshold:g}; allow an unknown number "
            "with --set identity.max_false_pairs=null, and the release will say so. " + _KEPT
        )
    if expected.value > most:
        raise ConfigError(
            f"at identity.threshold {threshold:g}, {_say(expected)} false pairs are expected, more than identity.max_false_pairs "
            f"({most:g}): raise the threshold, compare within groups (identity.scope: group), or allow more with "
            "--set identity.max_false_pairs=N. " + _KEPT
        )


_KEPT = "The faces found stay in the ledger, encrypted, for this command with another setting; --discard deletes them"


def _enough(others: OtherPeople) -> str:
    own = others.counts()
    return (
        f"{own['pairs']:,} pairs of faces of one image, in {own['images']:,} images, could be compared ({MIN_PAIRS} in "
        f"{MIN_IMAGES} are needed)"
    )


def _say(expected: Expected) -> str:
    return f"{expected.value:.2g} (95 % interval {expected.low:.2g} to {expected.high:.2g})"


def _table(faces: pa.Table, own: _Comparable, found: Persons, key: bytes, identity: IdentityConfig) -> pa.Table:
    ids, indices = faces.column("image_id"), faces.column("face")
    persons: list[str | None] = [None] * len(faces)
    sizes, cohesion = np.zeros(len(faces), np.int32), np.full(len(faces), np.nan)
    tokens: dict[int, str] = {}
    for at, label, size, mean in zip(
        own.at.tolist(), found.labels.tolist(), found.sizes.tolist(), found.cohesion.tolist(), strict=True
    ):
        if label not in tokens:
            first = int(own.at[label])
            tokens[label] = person_token(
                key, "anon-batch found person 1", identity.scope, ids[first].as_py(), indices[first].as_py()
            )
        persons[at], sizes[at], cohesion[at] = tokens[label], size, mean
    is_compared = np.array([person is not None for person in persons], np.bool_)
    values = [faces.column(name) for name in ("row", "image_id", "face", *BOX)]
    more = [
        pa.array(persons, pa.string()),
        pa.array(sizes, pa.int32(), mask=~is_compared),
        pa.array(cohesion, pa.float32(), mask=~np.isfinite(cohesion)),
    ]
    return pa.table([*values, *more], names=PERSONS_SCHEMA.names)
