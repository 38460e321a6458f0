"""Whom the regions of a row show, as tokens: private columns of the rows in a ledger, made from the manifest's column of persons
or from faces that were compared.

A token is what a region's seed derives from. Only the holder of the identity key can tell whose it is.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import ManifestError
from anon_batch.manifest.regions_column import is_text, plain_type
from anon_batch.records import IdentifiedFaces, Persons

OF_IMAGE, OF_REGIONS = "person_token_of_image", "person_tokens_of_regions"
IDENTIFIED, GROUP = "identified_faces", "identity_group"
PRIVATE_PERSON = "identity, in no row of the release"
BOX = ("x1", "y1", "x2", "y2")
IDENTIFIED_TYPE = pa.list_(pa.struct([*((edge, pa.float32()) for edge in BOX), ("person", pa.string())]))
_TOKEN_BYTES = 16


def is_person_token(name: str) -> bool:
    """Return whether a column of a ledger's rows has this meaning."""
    return name in (OF_IMAGE, OF_REGIONS, IDENTIFIED, GROUP)


def persons_of(
    of_image: str | None, of_regions: list[str | None] | None, identified: list[dict[str, Any]] | None
) -> Persons | None:
    """Return the persons of one row of a ledger."""
    if identified is not None:
        boxes = np.array([[face[edge] for edge in BOX] for face in identified], np.float32).reshape(-1, 4)
        return IdentifiedFaces(boxes, tuple(face["person"] for face in identified))
    return of_image if of_regions is None else tuple(of_regions)


def tokens_in(table: pa.Table) -> list[frozenset[str]]:
    """Return the tokens in each row of a ledger's rows."""
    found: list[set[str]] = [set() for _ in range(len(table))]
    for name in (OF_IMAGE, OF_REGIONS, IDENTIFIED):
        for own, value in zip(
            found, table.column(name).to_pylist() if name in table.column_names else (), strict=False
        ):
            values = value if isinstance(value, list) else [value]
            own.update(one["person"] if isinstance(one, dict) else one for one in values if one is not None)
    return [frozenset(own) - {None} for own in found]


def person_token(key: bytes, *about: str | int | None) -> str:
    """Return what only the holder of the identity key can make: 32 hexadecimal digits.

    Args:
        key: the identity key.
        about: who it is, from the kind of the token on.
    """
    message = json.dumps(about).encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256")[:_TOKEN_BYTES].hex()


class PrivateColumns(Protocol):
    """Makes columns for the ledger alone from the rows of a manifest."""

    @property
    def withheld(self) -> Mapping[str, str]:
        """Columns of the manifest that are not published -> why."""

    def private(self, table: pa.Table) -> dict[str, pa.Array]:
        """Return the columns for the next rows, which have all columns of the manifest."""

    def finish(self) -> None:
        """Check what only all rows show."""


class PersonColumn:
    """Make tokens of the column that names persons.

    Args:
        identity: section of the job, whose scope is not `none`.
        schema: names and types of the manifest's pass-through columns.
        read_key: returns the identity key; called when the first rows are known to be good.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: a column is missing, or its type cannot name persons.
    """

    def __init__(self, identity: IdentityConfig, schema: pa.Schema, read_key: Callable[[], bytes], where: str) -> None:
        self._identity, self._read_key, self._where = identity, read_key, where
        self._is_list = _is_list(kind_of_column(schema, identity.person_column, "identity.person_column", where))
        check_group_column(identity, schema, where)

    def private(self, table: pa.Table) -> dict[str, pa.Array]:
        """Return the private columns of a table that has all columns of the manifest.

        Raises:
            ManifestError: a list does not have one entry for each region of its row.
        """
        groups = [None] * len(table)
        if self._identity.group_column is not None:
            groups = table.column(self._identity.group_column).to_pylist()
        persons = table.column(self._identity.person_column).to_pylist()
        if not self._is_list:
            tokens = [self._token(person, group) for person, group in zip(persons, groups, strict=True)]
            return {OF_IMAGE: pa.array(tokens, pa.string())}
        regions = table.column("regions").combine_chunks()
        counts = regions.value_lengths().to_pylist()
        for image_id, own, count in zip(table.column("image_id").to_pylist(), persons, counts, strict=True):
            if own is not None and len(own) != (count or 0):
                raise ManifestError(
                    f"manifest {self._where}: {image_id!r} has {count or 0} regions and {len(own)} entries in "
                    f"`{self._identity.person_column}`; one for each region is needed, null for who is unknown"
                )
        lists = [
            None if own is None else [self._token(person, group) for person in own]
            for own, group in zip(persons, groups, strict=True)
        ]
        return {OF_REGIONS: pa.array(lists, pa.list_(pa.string()))}

    @property
    def withheld(self) -> Mapping[str, str]:
        """The column that is not published -> why. Groups pass through as other columns do."""
        return {self._identity.person_column: PRIVATE_PERSON}

    def finish(self) -> None:
        """Do nothing, because every row was checked by itself."""

    @cached_property
    def _key(self) -> bytes:
        return self._read_key()

    def _token(self, person: Any, group: Any) -> str | None:
        """Return the token of a person; None for who or where is unknown."""
        scope = self._identity.scope
        if person in (None, "") or (scope == "group" and group in (None, "")):
            return None
        return person_token(self._key, "anon-batch person 1", scope, None if group is None else str(group), str(person))


def check_group_column(identity: IdentityConfig, schema: pa.Schema, where: str) -> None:
    """Check the column of groups, and that no column has a name that the ledger uses.

    Raises:
        ManifestError: it is missing, its type cannot name groups, or a column has to be renamed.
    """
    if identity.group_column is not None:
        kind = kind_of_column(schema, identity.group_column, "identity.group_column", where)
        if _is_list(kind):
            raise ManifestError(f"manifest {where}: identity.group_column `{identity.group_column}` is a list")
    if taken := [name for name in schema.names if is_person_token(name)]:
        raise ManifestError(f"manifest {where}: rename column `{taken[0]}`, because `identity` uses this name")


def kind_of_column(schema: pa.Schema, name: str, key: str, where: str) -> pa.DataType:
    """Return the type of a column that names persons or groups.

    Args:
        schema: of the manifest's pass-through columns.
        name: of the column.
        key: of the job, which names it.
        where: the manifest's address.

    Raises:
        ManifestError: it is missing, or its type cannot name anything.
    """
    if name not in schema.names:
        known = ", ".join(schema.names[:20]) or "none"
        raise ManifestError(f"manifest {where}: {key} names no column `{name}`; there are: {known}")
    kind = plain_type(schema.field(name).type)
    value = plain_type(kind.value_type) if _is_list(kind) else kind
    if not (is_text(value) or pa.types.is_integer(value) or pa.types.is_null(value)):
        raise ManifestError(f"manifest {where}: `{name}` is {kind}; {key} needs text or integers")
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
