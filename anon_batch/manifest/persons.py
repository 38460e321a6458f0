"""Whom the regions of a row show, as tokens: private columns of the rows in a ledger, made from the manifest's column of persons.

A token is what a region's seed derives from. Only the holder of the identity key can tell whose it is.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from anon_batch.config.identity import IdentityConfig
from anon_batch.errors import ManifestError
from anon_batch.manifest.regions_column import is_text, plain_type

OF_IMAGE, OF_REGIONS = "person_token_of_image", "person_tokens_of_regions"
PRIVATE_PERSON = "identity, in no row of the release"
_TOKEN_BYTES = 16


def is_person_token(name: str) -> bool:
    """Return whether a column of a ledger's rows has this meaning."""
    return name in (OF_IMAGE, OF_REGIONS)


def persons_of(of_image: str | None, of_regions: list[str | None] | None) -> str | tuple[str | None, ...] | None:
    """Return the persons of one row of a ledger."""
    return of_image if of_regions is None else tuple(of_regions)


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
        self._is_list = _is_list(self._kind(schema, identity.person_column, "identity.person_column"))
        if identity.group_column is not None:
            kind = self._kind(schema, identity.group_column, "identity.group_column")
            if _is_list(kind):
                raise ManifestError(f"manifest {where}: identity.group_column `{identity.group_column}` is a list")
        if taken := [name for name in (OF_IMAGE, OF_REGIONS) if name in schema.names]:
            raise ManifestError(f"manifest {where}: rename column `{taken[0]}`, because `identity` uses this name")

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

    @cached_property
    def _key(self) -> bytes:
        return self._read_key()

    def _token(self, person: Any, group: Any) -> str | None:
        """Return the token of a person; None for who or where is unknown."""
        scope = self._identity.scope
        if person in (None, "") or (scope == "group" and group in (None, "")):
            return None
        message = json.dumps(["anon-batch person 1", scope, None if group is None else str(group), str(person)])
        return hmac.digest(self._key, message.encode("utf-8", "surrogatepass"), "sha256")[:_TOKEN_BYTES].hex()

    def _kind(self, schema: pa.Schema, name: str, key: str) -> pa.DataType:
        if name not in schema.names:
            known = ", ".join(schema.names[:20]) or "none"
            raise ManifestError(f"manifest {self._where}: {key} names no column `{name}`; there are: {known}")
        kind = plain_type(schema.field(name).type)
        value = plain_type(kind.value_type) if _is_list(kind) else kind
        if not (is_text(value) or pa.types.is_integer(value) or pa.types.is_null(value)):
            raise ManifestError(f"manifest {self._where}: `{name}` is {kind}; {key} needs text or integers")
        return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
