"""What a table measures: its data sets, its methods, and the digest that a method's result is kept under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from anon_batch.evaluate.setup import EvaluationConfig
from anon_batch.evaluate.wider.lists import DIFFICULTIES, FACES_FILE, list_file
from anon_batch.models.store import ModelStore
from anon_batch.recognition.embedder import load_embedders
from anon_batch.storage import Storage, absolute, join
from benchmarks.peers import BASE, PEERS, peer_settings

METHODS = ("gan", "swap", "inpaint", "pixelate", "blur", "solid")
FORMAT = 1
_ROOT = Path(__file__).parents[1]
_CODE = ("anon_batch", "benchmarks")


@dataclass(frozen=True, slots=True)
class Section:
    """A data set of the table.

    Args:
        name: short, part of file names.
        title: heading.
        config: of an evaluation of all methods; `methods` may name peers.
    """

    name: str
    title: str
    config: EvaluationConfig

    def of_method(self, method: str, output: str) -> EvaluationConfig:
        """Return the configuration that measures one method alone."""
        return replace(self.config, methods=(BASE if method in PEERS else method,), output=output)


def settings_of(section: Section, method: str, storage: Storage) -> dict[str, Any]:
    """Return everything that a method's figures follow from, as JSON values: settings, and digests of inputs and code.

    Images are not among them, only the lists that name them: use another --output after changing images in place.

    Raises:
        StorageError: an input cannot be read.
    """
    config = section.config
    job = config.job.model_dump(mode="json", include={"detect", "anonymize", "checks", "limits", "engine", "models"})
    store = ModelStore(storage, config.job.models)
    files = {
        "manifest": [config.manifest],
        "pairs": [config.pairs],
        "faces": [config.faces if config.faces and config.faces.endswith(".parquet") else None],
        "wider": [
            config.wider and join(absolute(config.wider), n) for n in (FACES_FILE, *map(list_file, DIFFICULTIES))
        ],
    }
    return {
        "format": FORMAT,
        "method": method,
        "peer": peer_settings(method) if method in PEERS else None,
        "job": job,
        "scorer": None if config.scorer is None else config.scorer.model_dump(mode="json"),
        "embedders": [asdict(own.description()) for own in load_embedders(store, config.embedders, 1)],
        "others": {name: repr(getattr(config, name)) for name in _others(config)},
        "inputs": {name: [a and _digest(storage, a) for a in own] for name, own in files.items()},
        "code": code_digest(),
    }


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def code_digest() -> str:
    """Return the digest of the package's and the benchmark's own files, because other code may give other figures."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(_ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _others(config: EvaluationConfig) -> list[str]:
    """Return the names of the fields that are neither addresses nor given otherwise."""
    given = {"job", "methods", "output", "manifest", "scorer", "pairs", "faces", "wider", "blind", "embedders"}
    return [name for name in config.__dataclass_fields__ if name not in given]


def _digest(storage: Storage, address: str) -> str:
    return hashlib.sha256(storage.read(absolute(address))).hexdigest()
