"""Checks of the result, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from anon_batch import plugins
from anon_batch.anonymize.protocol import ImageCheck, RegionCheck
from anon_batch.config import DetectConfig
from anon_batch.models.runtime import Runtime


class Checks(NamedTuple):
    """The checks of a job."""

    of_regions: tuple[RegionCheck, ...]
    of_images: tuple[ImageCheck, ...]


def load_checks(config: Mapping[str, Mapping[str, Any]], runtime: Runtime, detect: DetectConfig) -> Checks:
    """Return the checks of a job file.

    Args:
        config: section `checks`: name -> options.
        runtime: weights, threads and device.
        detect: section `detect`, for the image checks.

    Raises:
        UnknownNameError, ConfigError, ModelError: as `plugins.load` and `ImageCheck.prepare`.
    """
    loaded = [plugins.load("checks", name, options, runtime) for name, options in config.items()]
    of_images = tuple(check for check in loaded if isinstance(check, ImageCheck))
    for check in of_images:
        check.prepare(detect)
    return Checks(tuple(check for check in loaded if isinstance(check, RegionCheck)), of_images)
