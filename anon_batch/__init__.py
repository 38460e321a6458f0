"""Anonymize image datasets: a manifest of images in, an anonymized release and its evidence out.

`import anon_batch` is light: the names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from anon_batch.anonymizer import Anonymizer
    from anon_batch.errors import AnonBatchError, FailedError, WithheldError
    from anon_batch.imaging.source import SourceImage
    from anon_batch.outcomes import Anonymized, Clean, Withheld
    from anon_batch.records import Detections, GroundTruth, Region

_HOMES = {
    "AnonBatchError": "anon_batch.errors",
    "Anonymized": "anon_batch.outcomes",
    "Anonymizer": "anon_batch.anonymizer",
    "Clean": "anon_batch.outcomes",
    "Detections": "anon_batch.records",
    "FailedError": "anon_batch.errors",
    "GroundTruth": "anon_batch.records",
    "Region": "anon_batch.records",
    "SourceImage": "anon_batch.imaging.source",
    "Withheld": "anon_batch.outcomes",
    "WithheldError": "anon_batch.errors",
}

__all__ = [
    "AnonBatchError",
    "Anonymized",
    "Anonymizer",
    "Clean",
    "Detections",
    "FailedError",
    "GroundTruth",
    "Region",
    "SourceImage",
    "Withheld",
    "WithheldError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anon_batch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
