"""Find model files on this machine or download them; check the digest of each.

A file comes from the first place that has it: an installed package, the cache, the mirror, the public address.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anon_batch.config import ModelsConfig
from anon_batch.errors import ModelError, StorageError
from anon_batch.models.registry import MODELS, ModelEntry, model_entry
from anon_batch.redaction import redact_address
from anon_batch.storage import Storage, absolute, is_local, join

MIRROR_VARIABLE = "ANON_BATCH_MODEL_MIRROR"
CACHE_VARIABLE = "ANON_BATCH_MODEL_CACHE"
_TIMEOUT_S = 30.0

State = Literal["package", "cache", "absent", "wrong_digest"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Where one model is on this machine.

    Args:
        entry: of the registry.
        state: `package` or `cache` if it is there; `absent` if it must be downloaded; `wrong_digest` if the local file is
            not the pinned one.
        path: the file; None if absent.
    """

    entry: ModelEntry
    state: State
    path: Path | None


class ModelStore:
    """Verified access to the registry's files. Picklable; holds no open handles.

    Args:
        storage: reads the mirror, and files that users name.
        config: mirror, cache folder, replaced files.
    """

    def __init__(self, storage: Storage, config: ModelsConfig) -> None:
        self.storage = storage
        self._config = config

    @property
    def cache(self) -> Path:
        """The folder for downloaded files, which may not exist yet."""
        return Path(self._config.cache or os.environ.get(CACHE_VARIABLE) or "~/.cache/anon-batch").expanduser()

    def locate(self, name: str) -> Path:
        """Return a local file that contains the model; download it into the cache if necessary.

        Raises:
            UnknownNameError: there is no such model.
            ModelError: the file has another digest or cannot be found, or the cache cannot be written.
        """
        entry = model_entry(name)
        packaged = _packaged_file(entry)
        if packaged is None:
            return self._fetch(entry)
        _read_packaged(entry, packaged)
        return packaged

    def load(self, name: str) -> bytes:
        """Return the model's bytes. The digest is that of the returned bytes, not of the file at another moment.

        Raises:
            UnknownNameError, ModelError: see `locate`.
        """
        entry = model_entry(name)
        if name in self._config.files:
            return self._read_replacement(name)
        packaged = _packaged_file(entry)
        if packaged is not None:
            return _read_packaged(entry, packaged)
        path = self._fetch(entry)
        data = _read_file(entry, path)
        _check_digest(entry, data, str(path))
        return data

    def digest(self, name: str) -> str:
        """Return the sha256 of what `load` returns: the pinned digest, or that of a file in `models.files`."""
        return hashlib.sha256(self.load(name)).hexdigest()

    def identify(self, model: str) -> str:
        """Return `name@sha256` of a model. A name with a digest, or with what identifies a service, stays as it is."""
        return model if "@" in model else f"{model}@{self.digest(model)}"

    def address_of(self, name: str) -> str | None:
        """Return the address that `models.files` names, if it names one."""
        return self._config.files.get(name)

    def is_local_file(self, name: str) -> bool:
        """Return whether the file in `models.files` lies on this machine."""
        return is_local(absolute(self._config.files[name]))

    def load_own(self, name: str, sha256: str | None) -> tuple[bytes, str]:
        """Return a file of `models.files`, which the registry need not know, and its sha256.

        With a digest, a file from another machine is kept in the cache, so that it is fetched once a machine.

        Args:
            name: in `models.files`.
            sha256: that it must have; None takes any.

        Raises:
            ModelError: it cannot be read, or has another digest.
        """
        cached = None if sha256 is None or self.is_local_file(name) else self.cache / f"{sha256}.onnx"
        if cached is not None and cached.is_file():
            data = cached.read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                return data, sha256 or ""
        data = self._read_replacement(name)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, digest):
            raise ModelError(
                f"model {name!r}: the file that `models.files` names has the sha256 {digest} ({len(data)} bytes), the job "
                f"expects {sha256}"
            )
        if cached is not None:
            _keep(data, cached)
        return data, digest

    def fetch(self, names: Iterable[str]) -> dict[str, Path]:
        """Locate each model, so that a run needs no network. Returns name -> file."""
        return {name: self.locate(name) for name in names}

    def status(self) -> list[ModelStatus]:
        """Return the state of each model of the registry, without downloading or changing anything."""
        return [self._status(entry) for entry in MODELS.values()]

    def _status(self, entry: ModelEntry) -> ModelStatus:
        packaged, cached = _packaged_file(entry), self.cache / entry.filename
        path = packaged or (cached if cached.is_file() else None)
        if path is None:
            return ModelStatus(entry, "absent", None)
        if hashlib.sha256(_read_file(entry, path)).hexdigest() != entry.sha256:
            return ModelStatus(entry, "wrong_digest", path)
        return ModelStatus(entry, "package" if packaged else "cache", path)

    def _read_replacement(self, name: str) -> bytes:
        address = self._config.files[name]
        try:
            return self.storage.read(absolute(address))
        except StorageError as exc:
            shown = redact_address(address)
            raise ModelError(f"model {name!r}: cannot read {shown}, which `models.files` names: {exc}") from None

    def _fetch(self, entry: ModelEntry) -> Path:
        """Return the cached file; download it first if it is missing or has another digest."""
        from requests import RequestException

        if not entry.url:
            raise ModelError(
                f"model {entry.name!r}: {entry.filename} is missing from the installed package; reinstall anon-batch"
            )
        failures = []
        mirror = self._config.mirror or os.environ.get(MIRROR_VARIABLE)
        addresses = [join(mirror, entry.filename)] if mirror else []
        for address in (*addresses, entry.url):
            try:
                return self._retrieve(entry, address)
            except (StorageError, RequestException) as exc:
                origin = "the public address" if address == entry.url else "the mirror"
                failures.append(f"{origin} {address} failed: {exc}")
        if (self.cache / entry.filename).is_file():
            failures.append("the cached file has another digest")
        raise ModelError(
            f"model {entry.name!r} cannot be downloaded: {'; '.join(failures)}. Put {entry.filename} into {self.cache}, or "
            f"into a folder or bucket prefix that `models.mirror` or the variable {MIRROR_VARIABLE} names"
        )

    def _retrieve(self, entry: ModelEntry, address: str) -> Path:
        import pooch  # here, because it imports requests
        from requests import RequestException

        def download(address: str, partial: str, _: Any) -> None:
            if address == entry.url:
                pooch.HTTPDownloader(timeout=_TIMEOUT_S)(address, partial, None)
            else:
                Path(partial).write_bytes(self.storage.read(address))
            _check_digest(entry, Path(partial).read_bytes(), address)
            os.chmod(partial, 0o644)  # because pooch leaves its temporary file readable by the owner alone

        pooch.get_logger().setLevel("WARNING")
        try:
            return Path(
                pooch.retrieve(address, f"sha256:{entry.sha256}", entry.filename, self.cache, downloader=download)
            )
        except RequestException:
            raise
        except OSError as exc:
            raise ModelError(
                f"the model cache {self.cache} cannot be used: {exc.strerror or exc}; set `models.cache` to another folder"
            ) from None


def _keep(data: bytes, path: Path) -> None:
    """Write a file that others read at the same time. Without a cache that can be written it is fetched again instead."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
            try:
                partial.write(data)
                partial.flush()
                os.chmod(partial.name, 0o644)
                os.replace(partial.name, path)
            except OSError:
                os.unlink(partial.name)


def _packaged_file(entry: ModelEntry) -> Path | None:
    """Return the file that an installed package contains; None if there is none. Does not import the package."""
    if entry.package is None:
        return None
    module, _, relative = entry.package.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    candidates = (Path(folder) / relative for folder in spec.submodule_search_locations)
    return next((path for path in candidates if path.is_file()), None)


def _read_packaged(entry: ModelEntry, path: Path) -> bytes:
    data = _read_file(entry, path)
    try:
        _check_digest(entry, data, str(path))
    except ModelError as exc:
        raise ModelError(f"{exc}; reinstall the package that contains it") from None
    return data


def _read_file(entry: ModelEntry, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ModelError(f"model {entry.name!r}: cannot read {path}: {exc.strerror or exc}") from None


def _check_digest(entry: ModelEntry, data: bytes, origin: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != entry.sha256:
        raise ModelError(
            f"model {entry.name!r} from {origin} is not the pinned file: sha256 {actual} ({len(data)} "
            f"bytes), expected {entry.sha256} ({entry.size_bytes} bytes)"
        )
