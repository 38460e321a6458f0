"""What made the rows of the current version of a release: the settings of its run, as patches have changed them since.

They hold for all rows: a patch does every row again that they make another one of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from anon_batch.formats.run_json import RunJson
from anon_batch.formats.version_json import Version

CHANGEABLE = ("detect", "anonymize", "checks", "limits")


def current_settings(record: RunJson, versions: Sequence[Version]) -> dict[str, Any]:
    """Return the sections that a patch may change, as they are in the current version."""
    sections = {name: record.config[name] for name in CHANGEABLE if name in record.config}
    for version in versions:
        sections.update({name: own for name, own in version.config.items() if name in CHANGEABLE})
    return sections


def current_run(record: RunJson, versions: Sequence[Version]) -> RunJson:
    """Return run.json with the settings of the current version, and with all models that made rows of any version."""
    models = dict.fromkeys((*record.models, *(model for version in versions for model in version.models)))
    config = {**record.config, **current_settings(record, versions)}
    return dataclasses.replace(record, config=config, models=tuple(models))


def as_recorded(current: RunJson, record: RunJson) -> RunJson:
    """Return `current` with the settings and models of the run alone, as run.json has them; inverse of `current_run`.

    Args:
        current: as `current_run` returned it; its other sections may have changed since.
        record: run.json.
    """
    settings = {name: record.config[name] for name in CHANGEABLE if name in record.config}
    return dataclasses.replace(current, config={**current.config, **settings}, models=record.models)
