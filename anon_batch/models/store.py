"""Finding weights on this machine or fetching them, never without checking their digest.

It comes from the first of these that has it: an installed package, the cache, the mirror, the public address.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from anon_batch.config import ModelsConfig
from anon_batch.errors import ModelError, StorageError
from anon_batch.models.registry import MODELS, ModelEntry, model_entry
from anon_batch.storage import Storage, absolute, join

MIRROR_VARIABLE = "ANON_BATCH_MODEL_MIRROR"
_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 20

State = Literal["package", "cache", "absent", "wrong_digest"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What this machine holds of one model.

    Args:
        entry: the registry's entry.
        state: who holds it; `absent` is fetched on use, `wrong_digest` is refused.
        path: the file, None when absent.
    """

    entry: ModelEntry
    state: State
    path: Path | None


class ModelStore:
    """Verified access to the registry's files. Picklable; holds no open handles.

    Args:
        storage: reaches the mirror.
        config: mirror and cache folder.
    """

    def __init__(self, storage: Storage, config: ModelsConfig) -> None:
        self._storage = storage
        self._config = config

    @property
    def cache(self) -> Path:
        """The folder for fetched files; it need not exist."""
        return Path(self._config.cache or "~/.cache/anon-batch").expanduser()

    def locate(self, name: str) -> Path:
        """A local file that holds the model; fetched into the cache if need be.

        Raises:
            UnknownNameError: no such model.
            ModelError: a file with another digest, nobody has it, or the cache cannot be written.
        """
        entry = model_entry(name)
        local = self._local_file(entry)
        if local is None:
            self._fill_cache(entry, self._download(entry))
            return self.cache / entry.filename
        self._read_checked(entry, *local)
        return local[0]

    def load(self, name: str) -> bytes:
        """The model's bytes, checked as they were read: what is loaded is what was checked.

        Raises:
            UnknownNameError, ModelError: as `locate`.
        """
        entry = model_entry(name)
        if name in self._config.files:
            return self._read_own(name)
        local = self._local_file(entry)
        if local is not None:
            return self._read_checked(entry, *local)
        data = self._download(entry)
        self._fill_cache(entry, data)
        return data

    def digest(self, name: str) -> str:
        """sha256 of what `load` gives, for the fingerprint: the pinned one, or that of an own file, or an error."""
        return hashlib.sha256(self.load(name)).hexdigest()

    def fetch(self, names: Iterable[str]) -> dict[str, Path]:
        """Locates each of the models, so that a run needs no network: name -> file."""
        return {name: self.locate(name) for name in names}

    def status(self) -> list[ModelStatus]:
        """One row a model of the registry, without fetching or removing anything."""
        return [self._status(entry) for entry in MODELS.values()]

    def _read_own(self, name: str) -> bytes:
        address = self._config.files[name]
        try:
            return self._storage.read(absolute(address))
        except StorageError as exc:
            raise ModelError(f"model {name!r}: `models.files` names {address}, which cannot be read: {exc}") from None

    def _status(self, entry: ModelEntry) -> ModelStatus:
        local = self._local_file(entry)
        if local is None:
            return ModelStatus(entry, "absent", None)
        path, source = local
        if hashlib.sha256(_read_file(entry, path)).hexdigest() != entry.sha256:
            return ModelStatus(entry, "wrong_digest", path)
        return ModelStatus(entry, source, path)

    def _local_file(self, entry: ModelEntry) -> tuple[Path, Literal["package", "cache"]] | None:
        carried = _carried_file(entry)
        if carried is not None:
            return carried, "package"
        cached = self.cache / entry.filename
        return (cached, "cache") if cached.is_file() else None

    def _read_checked(self, entry: ModelEntry, path: Path, source: Literal["package", "cache"]) -> bytes:
        data = _read_file(entry, path)
        try:
            _check(entry, data, str(path))
        except ModelError as exc:
            if source == "package":
                raise ModelError(f"{exc}; reinstall the package that carries it") from None
            with contextlib.suppress(OSError):
                path.unlink()
            raise ModelError(f"{exc}; it was removed from the cache and is fetched anew next time") from None
        return data

    def _download(self, entry: ModelEntry) -> bytes:
        if not entry.url:
            raise ModelError(
                f"model {entry.name!r}: {entry.filename} is missing from the installed package; reinstall anon-batch"
            )
        tried: list[str] = []
        mirror = self._config.mirror or os.environ.get(MIRROR_VARIABLE)
        if mirror:
            uri = join(mirror, entry.filename)
            try:
                data = self._storage.read(uri)
            except StorageError as exc:
                tried.append(f"the mirror failed: {exc}")
            else:
                _check(entry, data, uri)
                return data
        try:
            data = _get(entry.url, entry.size_bytes)
        except (OSError, HTTPException) as exc:  # URLError and timeouts are OSErrors
            tried.append(f"{entry.url} failed: {getattr(exc, 'reason', None) or exc}")
            raise ModelError(
                f"model {entry.name!r} cannot be fetched: {'; '.join(tried)}. Put {entry.filename} into "
                f"{self.cache}, or into a folder or bucket prefix that `models.mirror` or the variable "
                f"{MIRROR_VARIABLE} names"
            ) from None
        _check(entry, data, entry.url)
        return data

    def _fill_cache(self, entry: ModelEntry, data: bytes) -> None:
        # A temporary name of its own and os.replace: processes that fetch at once each put a whole file.
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=f".{entry.filename}-", dir=self.cache)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.chmod(partial, 0o644)
                os.replace(partial, self.cache / entry.filename)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial)
                raise
        except OSError as exc:
            raise ModelError(
                f"the model cache {self.cache} cannot be written: {exc.strerror or exc}; name another "
                "folder in `models.cache`"
            ) from None


def _carried_file(entry: ModelEntry) -> Path | None:
    if entry.package is None:
        return None
    module, _, relative = entry.package.partition(":")
    spec = importlib.util.find_spec(module)  # does not import it
    if spec is None or not spec.submodule_search_locations:
        return None
    candidates = (Path(folder) / relative for folder in spec.submodule_search_locations)
    return next((path for path in candidates if path.is_file()), None)


def _read_file(entry: ModelEntry, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ModelError(f"model {entry.name!r}: {path} cannot be read: {exc.strerror or exc}") from None


def _check(entry: ModelEntry, data: bytes, origin: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != entry.sha256:
        raise ModelError(
            f"model {entry.name!r} from {origin} is not the pinned file: sha256 {actual} ({len(data)} "
            f"bytes), expected {entry.sha256} ({entry.size_bytes} bytes)"
        )


def _get(url: str, size_bytes: int) -> bytes:
    # One byte more than expected is enough to tell a wrong file, however long an answer is.
    request = urllib.request.Request(url, headers={"User-Agent": "anon-batch"})  # noqa: S310 - the registry holds http(s)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        chunks, left = [], size_bytes + 1
        while left and (chunk := answer.read(min(left, _READ_BYTES))):
            chunks.append(chunk)
            left -= len(chunk)
    return b"".join(chunks)
