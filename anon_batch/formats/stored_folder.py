"""A folder on storage that holds the files of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anon_batch.storage import ObjectInfo, Storage, absolute, join


class StoredFolder:
    """A folder or bucket prefix with what is done to its objects. Picklable.

    Args:
        storage: where it lies.
        uri: its address.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        self.storage = storage
        self.uri = absolute(uri.rstrip("/"))

    def address(self, key: str) -> str:
        """Return the address of a key below the folder."""
        return join(self.uri, key)

    def objects(self, folder: str) -> Iterator[ObjectInfo]:
        """List the objects of a subfolder; their keys are relative to the subfolder."""
        return self.storage.list(self.address(folder))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are fine. `keys` is read as needed."""
        self.storage.delete_many(self.uri, keys)
