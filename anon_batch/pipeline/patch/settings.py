"""The settings that made the rows of a release, and how those of a patch differ from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anon_batch.config import ImageConfig, JobConfig, validate
from anon_batch.errors import ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.current_run import CHANGEABLE
from anon_batch.formats.plan import Plan
from anon_batch.formats.services import without_resources
from anon_batch.formats.version_json import Version
from anon_batch.pipeline.fingerprint import differences

_FREE = frozenset(
    {"models", "package version", "engine.shard_rows"}
)  # of a fingerprint: what a patch may change besides
_REGION_CHECKS = frozenset({"structure"})

Search = Literal["none", "detect", "whole"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a patch changes about the settings, and so which rows it has to look at.

    Args:
        search: which rows have other detections: `detect` runs the detectors over every published image, `whole` the checks of
            the whole image too, because these find regions of their own; `none` if the settings cannot change any.
        regions: whether rows with regions get other pixels, whatever is detected.
        lines: the differences, for the user.
        config: section -> its settings from now on, for the sections that differ.
        detectors_before: names of the detectors that chose the regions of the current version, where checks of the whole image
            added some of their own; None where none did.
    """

    search: Search = "none"
    regions: bool = False
    lines: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    detectors_before: frozenset[str] | None = None


def current_models(plan: Plan, versions: Sequence[Version]) -> tuple[str, ...]:
    """Return `name@sha256` of the models of the job that made the current version."""
    models = [version.models for version in versions if version.kind == "patch"]
    return models[-1] if models else plan.models


def compare_settings(
    before: Mapping[str, Any], after: JobConfig, models_before: Iterable[str], models_after: Iterable[str]
) -> Changes:
    """Return what the settings of a patch change.

    A model that both jobs use under one name with different weights counts as a change of everything, because the name does not
    say what uses it.

    Args:
        before: sections of `current_settings`.
        after: the job that does rows again.
        models_before: `name@sha256` of the models that made the current version.
        models_after: the same of the job.
    """
    image = validate(ImageConfig, before, layout.RUN)
    old, new = _flat(image), _flat(after.image)
    differing = {key.partition(".")[0] for key in {*old, *new} if old.get(key) != new.get(key)} & set(CHANGEABLE)
    weights = dict(model.rpartition("@")[::2] for model in models_before)
    replaced = [
        m for m in models_after if weights.get(m.rpartition("@")[0], m.rpartition("@")[2]) != m.rpartition("@")[2]
    ]
    other_checks = {
        key.split(".")[1]
        for key in {*old, *new}
        if key.startswith("checks.") and old.get(key) != new.get(key) and len(key.split(".")) > 1
    } - _REGION_CHECKS
    search: Search = "none"
    if "detect" in differing or replaced:
        search = "detect"
    if other_checks or (replaced and set(after.checks) - _REGION_CHECKS):
        search = "whole"
    lines = differences(
        {k: v for k, v in old.items() if _changeable(k)}, {k: v for k, v in new.items() if _changeable(k)}
    )
    lines += [f"model {model.rpartition('@')[0]}: other weights" for model in replaced]
    sections = after.model_dump(mode="json", include=set(CHANGEABLE))
    return Changes(
        search,
        bool(differing & {"anonymize", "checks"} or replaced),
        tuple(lines),
        {name: sections[name] for name in CHANGEABLE if name in differing},
        frozenset(own.name for own in image.detect.detectors) if set(image.checks) - _REGION_CHECKS else None,
    )


def check_same_job(uri: str, plan: Plan, current: Mapping[str, Any]) -> None:
    """Check what a patch cannot change: rows, sample, outputs' form, published columns, run key.

    Args:
        uri: of the release, for the message.
        plan: of the run.
        current: the fingerprint of the patch's job; keys that it leaves out are not compared.

    Raises:
        ResumeRefusedError: names what differs.
    """
    fixed = {
        key: value
        for key, value in plan.fingerprint.items()
        if key in current and key not in _FREE and key.partition(".")[0] not in CHANGEABLE
    }
    if found := differences(fixed, {key: current[key] for key in fixed}):
        raise ResumeRefusedError(
            f"{uri}: a patch changes {', '.join(CHANGEABLE)} and models alone, because all other rows stay as they are. "
            f"Differences: {'; '.join(found)}. Make a new release for these, with another output"
        )


def _changeable(key: str) -> bool:
    return key.partition(".")[0] in CHANGEABLE


def _flat(image: ImageConfig) -> dict[str, Any]:
    out: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            out[prefix] = value

    walk("", without_resources(image.model_dump(mode="json", include=set(CHANGEABLE))))
    return out
