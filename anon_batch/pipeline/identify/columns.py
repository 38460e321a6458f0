"""Private columns of a job that compares faces: groups for the pass, and the persons that it found for a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from anon_batch.config import JobConfig
from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import ConfigError, ResumeRefusedError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonsJson, PersonStore
from anon_batch.manifest.persons import (
    BOX,
    GROUP,
    IDENTIFIED,
    IDENTIFIED_TYPE,
    PersonColumn,
    PrivateColumns,
    check_group_column,
)
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.pipeline.fingerprint import RowsDigest, differences
from anon_batch.pipeline.identify.basis import compares_faces
from anon_batch.pipeline.secret_keys import identity_key_check, identity_key_of

_SETTINGS = ("scope", "group_column", "min_face_px", "threshold", "max_false_pairs")
_SECTIONS = ("sample", "detect", "limits")

Columns = Callable[[pa.Schema], PrivateColumns]


class Groups:
    """The group of each row, for the pass that compares faces; digests the rows.

    Args:
        identity: section of the job.
        schema: names and types of the manifest's pass-through columns.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: the column is missing, or its type cannot name groups.
    """

    def __init__(self, identity: IdentityConfig, schema: pa.Schema, where: str) -> None:
        check_group_column(identity, schema, where)
        self._column, self._digest = identity.group_column, RowsDigest()

    def private(self, table: pa.Table) -> dict[str, pa.Array]:
        """Return the group of each row as text; None for a row of no group."""
        own = ["all"] * len(table) if self._column is None else table.column(self._column).to_pylist()
        groups = pa.array([None if group in (None, "") else str(group) for group in own], pa.string())
        self._digest.update(table.select(list(FIXED_COLUMNS)).append_column(GROUP, groups))
        return {GROUP: groups}

    @property
    def withheld(self) -> Mapping[str, str]:
        """Nothing, because groups pass through as other columns do."""
        return {}

    @property
    def sha256(self) -> str:
        """Digest of the rows so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Do nothing, because every row has been looked at."""


class FoundPersons:
    """The persons that were found in each row, as a run needs them.

    Args:
        identity: section of the job.
        schema: names and types of the manifest's pass-through columns.
        where: the manifest's address, for messages.
        store: of the ledger.
        summary: how they were found.

    Raises:
        ManifestError: as `Groups`.
        IntegrityError: the persons are damaged.
    """

    def __init__(
        self, identity: IdentityConfig, schema: pa.Schema, where: str, store: PersonStore, summary: PersonsJson
    ) -> None:
        self._groups, self._where, self._summary = Groups(identity, schema, where), where, summary
        self._left: Iterator[pa.Table] = store.batches(summary)
        self._ahead: pa.Table | None = None
        self._next_row = 0

    def private(self, table: pa.Table) -> dict[str, pa.Array]:
        """Return the faces of the next rows, each with its person."""
        self._groups.private(table)
        start, stop = self._next_row, self._next_row + len(table)
        self._next_row = stop
        faces: list[list[dict[str, object]]] = [[] for _ in range(len(table))]
        for piece in self._until(stop):
            edges = [piece.column(edge).to_pylist() for edge in BOX]
            for row, *box, person in zip(
                piece.column("row").to_pylist(), *edges, piece.column("person").to_pylist(), strict=True
            ):
                faces[row - start].append({**dict(zip(BOX, box, strict=True)), "person": person})
        return {IDENTIFIED: pa.array(faces, IDENTIFIED_TYPE)}

    @property
    def withheld(self) -> Mapping[str, str]:
        """Nothing, because persons are in no column of the manifest."""
        return {}

    def finish(self) -> None:
        """Check that these are the rows whose faces were compared.

        Raises:
            ConfigError: they are not.
        """
        if self._groups.sha256 != self._summary.rows_sha256:
            raise ConfigError(
                f"{self._where}: other rows, sources or groups than those whose faces were compared; run `anon-batch identify` "
                "with this job again"
            )

    def _until(self, stop: int) -> Iterator[pa.Table]:
        """Yield the faces of the rows below `stop` that were not yielded before."""
        while True:
            piece = self._ahead if self._ahead is not None else next(self._left, None)
            self._ahead = None
            if piece is None:
                return
            cut = int(np.searchsorted(piece.column("row").to_numpy(), stop))
            yield piece.slice(0, cut)
            if cut < len(piece):
                self._ahead = piece.slice(cut)
                return


def private_columns(config: JobConfig, ledger: Ledger, *, create: bool = False) -> Columns | None:
    """Return what makes the private columns of persons for a run; None if no person keeps a face.

    Args:
        config: the job.
        ledger: of the run.
        create: make an identity key unless there is one.

    Raises:
        ConfigError: faces were not compared yet, or the persons are those of another key.
        IntegrityError: the ledger is damaged.
    """
    read_key = identity_key_of(config, ledger, create=create)
    if read_key is None:
        return None
    if not compares_faces(config):
        return lambda schema: PersonColumn(config.identity, schema, read_key, config.manifest)
    store = PersonStore(ledger)
    summary = found_persons(config, ledger)
    if summary.identity_key != identity_key_check(read_key()):
        raise ResumeRefusedError(
            f"{store.uri}: made with another identity key; name the same `identity.key_file`, or run `anon-batch identify` again "
            "for another output"
        )
    return lambda schema: FoundPersons(config.identity, schema, config.manifest, store, summary)


def found_persons(config: JobConfig, ledger: Ledger) -> PersonsJson:
    """Return how the persons of a job were found.

    Raises:
        ConfigError: they were not, or with other settings.
        IntegrityError: the ledger is damaged.
    """
    summary = PersonStore(ledger).summary()
    if summary is None:
        raise ConfigError(
            f"identity.source is cluster, and {ledger.uri} holds no persons: run `anon-batch identify` with this job first"
        )
    old = {f"identity.{name}": value for name, value in summary.settings.items()}
    new = {f"identity.{name}": value for name, value in settings_of(config.identity).items()}
    if found := differences(old, new):
        raise ConfigError(
            f"{ledger.uri}: persons were found with other settings ({'; '.join(found)}); run `anon-batch identify` with this job"
        )
    return summary


def check_same_faces(config: JobConfig, summary: PersonsJson) -> None:
    """Check that a run finds the faces that were compared, because it has to find each of them again.

    Raises:
        ConfigError: it searches the images in another way.
    """
    new = faces_settings(config)
    if found := differences({name: summary.fingerprint.get(name) for name in new}, new):
        raise ConfigError(
            f"faces were compared as other settings found them ({'; '.join(found)}); run `anon-batch identify` with this job"
        )


def settings_of(identity: IdentityConfig) -> dict[str, Any]:
    """Return the settings that decide who is one person, beside which faces there are."""
    return {name: getattr(identity, name) for name in _SETTINGS}


def faces_settings(config: JobConfig) -> dict[str, Any]:
    """Return the settings that decide which faces are found, as JSON values by dotted name."""
    values = config.model_dump(mode="json", include=set(_SECTIONS))
    return {f"{section}.{name}": own for section in _SECTIONS for name, own in values[section].items()}
