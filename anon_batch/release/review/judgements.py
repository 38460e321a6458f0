"""What one file of verdicts says, whatever its format, and how foreign files are checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import DrawnBox, Mark
from anon_batch.release.review.sample import Output
from anon_batch.release.review.seal import Box

_SHOWN_FAULTS = 3
_MAX_LABEL = 200

_Model = TypeVar("_Model", bound="ForeignModel")


class ForeignModel(BaseModel):
    """A part of a file that another program wrote: its keys are checked, further ones ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A person's verdict on one image; `seconds` they looked at it, None if unknown."""

    mark: Mark
    boxes: tuple[DrawnBox, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ReviewerFile:
    """The verdicts of one file.

    Args:
        reviewer: the name in it; may be empty.
        review_id: of the page; empty for files of other programs.
        judged: id of a sampled output -> verdict.
        planted: number of the image in the page -> (id of the output, box of the planted face).
        judged_plants: number of the image in the page -> verdict, for images with planted faces.
        notes: what had to be changed, for the user.
    """

    reviewer: str
    review_id: str
    judged: Mapping[str, Judgement]
    planted: Mapping[int, tuple[str, Box]] = field(default_factory=dict)
    judged_plants: Mapping[int, Judgement] = field(default_factory=dict)
    notes: Sequence[str] = ()


def parse_json(data: bytes, uri: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        ConfigError: it is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{uri}: not a JSON file ({str(exc)[:120]})") from None


def check_model(model: type[_Model], content: Any, uri: str, kind: str) -> _Model:
    """Return the content as a model.

    Args:
        model: the keys that are read.
        content: of the file.
        uri: its address, for messages.
        kind: what the file should be, e.g. "a COCO file".

    Raises:
        ConfigError: names the first faults.
    """
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False)
        lines = [f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}" for error in errors]
        more = f"; and {len(lines) - _SHOWN_FAULTS} more" if len(lines) > _SHOWN_FAULTS else ""
        raise ConfigError(f"{uri}: not {kind}: {'; '.join(lines[:_SHOWN_FAULTS])}{more}") from None


def clip_box(edges: Sequence[float], label: str, output: Output, uri: str) -> tuple[DrawnBox, bool]:
    """Return a box inside an output, and whether a part of more than half a pixel was cut off.

    Raises:
        ConfigError: it is empty, lies outside, or has no usable label.
    """
    x1, y1, x2, y2 = (float(edge) for edge in edges)
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(output.width)), min(y2, float(output.height))
    place = f"{uri}: {output.image_id}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or left >= right or top >= bottom:
        raise ConfigError(f"{place} does not lie in the image of {output.width} x {output.height} px")
    if not label.strip() or len(label) > _MAX_LABEL or not label.isprintable():
        raise ConfigError(f"{place}: its label is empty, too long or not plain text")
    cut = max(left - x1, top - y1, x2 - right, y2 - bottom) > 0.5
    return DrawnBox(left, top, right, bottom, label.strip()), cut


def clip_note(uri: str, count: int) -> list[str]:
    """Return the message that boxes were clipped, if any was."""
    return [f"{uri}: {count} boxes reached beyond their image and were clipped"] if count else []


def marks_of(image_ids: Sequence[str], boxes: Mapping[str, Sequence[DrawnBox]]) -> dict[str, Judgement]:
    """Return a verdict for each image: `missed` where something was drawn, else `fine`."""
    return {
        name: Judgement("missed", tuple(boxes[name])) if boxes.get(name) else Judgement("fine") for name in image_ids
    }
