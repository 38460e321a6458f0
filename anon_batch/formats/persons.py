"""Persons that were found by comparing faces: persons.parquet says which face is whose, persons.json how they were found."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError, ObjectNotFoundError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.part import column
from anon_batch.formats.versions import explain_other_version

PERSONS_VERSION = 1
_GROUP_ROWS = 65_536
PERSONS_SCHEMA = pa.schema(
    [
        column("row", pa.int64(), "number of the row of the manifest, or of its sample"),
        column("image_id", pa.string(), "the manifest's id"),
        column("face", pa.int32(), "index among the detections of `identify`"),
        *(column(edge, pa.float32(), "box of the face, px of the upright image") for edge in ("x1", "y1", "x2", "y2")),
        column("person", pa.string(), "token of the person; null: the face could not be compared"),
        column("cluster_size", pa.int32(), "faces of this person"),
        column("cohesion", pa.float32(), "mean cosine of the pairs of this person's faces; null where there is one"),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class PersonsJson:
    """Content of persons.json.

    Args:
        sha256: of persons.parquet as it is.
        made_sha256: of persons.parquet as `identify` wrote it; what is erased later does not change it.
        fingerprint: what the pass depended on, as JSON values by dotted name.
        settings: of the job's section `identity`, those that decide who is one person.
        rows_sha256: digest of the manifest's rows that were looked at.
        identity_key: check of the identity key.
        embedder: `name@sha256` of the recogniser.
        threshold: least mean cosine of one person's faces.
        calibrated: whether the threshold comes from the job's own images, not from the job file.
        rows: looked at.
        faces: found.
        compared: faces that could be compared.
        persons: with several faces.
        linked: faces of these.
        largest: most faces of a person.
        pairs: of faces that were compared.
        expected: false pairs expected among them: `value`, `low`, `high`; None where it cannot be estimated.
        other_people: what the estimate comes from: `pairs`, `images`, `doubles`, `twice`.
        divided: faces in components that were too large to be cut as a whole.
        unread: why -> rows that could not be searched.
        made_at: UTC, ISO 8601.
    """

    sha256: str
    made_sha256: str
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows_sha256: str
    identity_key: str
    embedder: str
    threshold: float
    calibrated: bool
    rows: int
    faces: int
    compared: int
    persons: int
    linked: int
    largest: int
    pairs: int
    expected: Mapping[str, float] | None
    other_people: Mapping[str, int]
    divided: int
    unread: Mapping[str, int]
    made_at: str

    @property
    def public(self) -> dict[str, Any]:
        """What a release says about how its persons were found: no path, no token."""
        return {
            "embedder": self.embedder,
            "threshold": self.threshold,
            "calibrated": self.calibrated,
            "compared": self.compared,
            "linked": self.linked,
            "persons": self.persons,
            "pairs": self.pairs,
            "expected_false_pairs": None if self.expected is None else dict(self.expected),
        }

    def to_json(self) -> bytes:
        """Return the content of persons.json."""
        return json.dumps({"version": PERSONS_VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> PersonsJson:
        """Parse persons.json; `uri` is its address, for messages.

        Raises:
            ResumeRefusedError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("version")
            if version != PERSONS_VERSION:
                raise ResumeRefusedError(explain_other_version(uri, "ledger", version, PERSONS_VERSION))
            found = cls(**fields)
            if not (isinstance(found.sha256, str) and isinstance(found.made_sha256, str)):
                raise TypeError("digests must be text")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return found


class PersonStore:
    """Read and write the persons of a ledger.

    Args:
        ledger: of the run.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._storage = ledger, ledger.storage
        self.uri = ledger.address(layout.LEDGER_PERSONS)

    def summary(self) -> PersonsJson | None:
        """Return how persons were found; None if they were not.

        Raises:
            IntegrityError, ResumeRefusedError: as `PersonsJson.from_json`.
        """
        uri = self._ledger.address(layout.LEDGER_PERSONS_JSON)
        try:
            return PersonsJson.from_json(self._storage.read(uri), uri)
        except ObjectNotFoundError:
            return None

    def put(self, table: bytes, summary: PersonsJson) -> None:
        """Write persons, the summary last, because persons count from then on."""
        self._storage.put(self.uri, table)
        self._storage.put(self._ledger.address(layout.LEDGER_PERSONS_JSON), summary.to_json())

    def check(self, summary: PersonsJson) -> None:
        """Check that persons.parquet is what the summary says.

        Raises:
            IntegrityError: it is missing or another file.
        """
        self._read(summary)

    def batches(self, summary: PersonsJson) -> Iterator[pa.Table]:
        """Yield the table of persons in pieces, by rising row and face; raise as `check`."""
        file = pq.ParquetFile(pa.BufferReader(self._read(summary)))
        for group in range(file.metadata.num_row_groups):
            yield file.read_row_group(group, use_threads=False)

    def forget(self, rows: Collection[int]) -> None:
        """Remove the faces of erased rows.

        Raises:
            IntegrityError: persons.parquet is missing or damaged.
        """
        if (summary := self.summary()) is None:
            return
        try:
            data = self._storage.read(self.uri)
            table = pq.read_table(pa.BufferReader(data), use_threads=False)
        except (ObjectNotFoundError, pa.ArrowException, OSError) as exc:
            raise IntegrityError(f"{self.uri}: missing or damaged ({exc})") from None
        gone = pc.is_in(table.column("row"), pa.array(sorted(rows), pa.int64()))
        left = to_parquet(table.filter(pc.invert(gone)))
        self.put(left, dataclasses.replace(summary, sha256=hashlib.sha256(left).hexdigest()))

    def _read(self, summary: PersonsJson) -> bytes:
        try:
            data = self._storage.read(self.uri)
        except ObjectNotFoundError:
            raise IntegrityError(f"{self.uri}: missing; restore it from a copy") from None
        if hashlib.sha256(data).hexdigest() != summary.sha256:
            raise IntegrityError(
                f"{self.uri}: not the persons that {layout.LEDGER_PERSONS_JSON} speaks of; restore both"
            )
        return data


def to_parquet(table: pa.Table) -> bytes:
    """Return a table of persons as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(
        table.cast(PERSONS_SCHEMA), sink, compression="zstd", row_group_size=_GROUP_ROWS, write_page_checksum=True
    )
    return sink.getvalue()
