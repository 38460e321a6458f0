"""Build the detectors that a job names: those of this package, and plug-ins."""

from __future__ import annotations

from typing import cast

from anon_batch import plugins
from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.protocol import Detector, DetectorSettings
from anon_batch.errors import ConfigError
from anon_batch.models.runtime import Runtime


def create_detector(config: DetectorConfig, detect: DetectConfig, runtime: Runtime) -> Detector:
    """Return a detector.

    Args:
        config: its entry in the job file; not `manifest`, whose boxes are found nowhere.
        detect: the settings that all detectors share.
        runtime: where weights come from, and what the networks run on.

    Raises:
        UnknownNameError: nothing has that name; the message suggests the nearest.
        ConfigError: the plug-in cannot be loaded or is no detector, or it does not have an option.
        ModelError: weights that are missing or not the pinned ones.
    """
    detector = plugins.load("detectors", config.name, config.options, runtime, DetectorSettings(config, detect))
    if missing := [name for name in ("models", "labels", "detect") if not hasattr(detector, name)]:
        raise ConfigError(
            f"detector `{config.name}` is a {type(detector).__name__} without {', '.join(missing)}; a detector has "
            "`name`, `models`, `labels` and `detect(images)`"
        )
    return cast(Detector, detector)
