"""Label Studio's JSON of tasks: published regions as predictions, and annotations back.

Boxes are percent of the image, `x` and `y` of the upper left corner before a rotation around it (labelstud.io, task format and
RectangleLabels). A rotated box becomes the upright one around it.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import Field

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import MARKS, DrawnBox, Mark
from anon_batch.records import DEFAULT_LABEL
from anon_batch.release.review.draw import Sample
from anon_batch.release.review.interchange import (
    SampleNote,
    by_name,
    check_note,
    file_name,
    find_output,
    read_boxes,
    sample_note,
)
from anon_batch.release.review.judgements import (
    ForeignModel,
    Judgement,
    ReviewerFile,
    check_model,
    clip_note,
)
from anon_batch.release.review.sample import Output

LOCAL_FILES = "/data/local-files/?d="
_KIND = "tasks of Label Studio (its export format JSON)"


class _Value(ForeignModel):
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float = 0.0
    rectanglelabels: list[str] = Field(default=[])
    choices: list[str] = Field(default=[])


class _Result(ForeignModel):
    type: str = ""
    value: _Value = _Value()
    image_rotation: float = 0.0


class _Annotation(ForeignModel):
    result: list[_Result] = Field(default=[])
    was_cancelled: bool = False


class _Data(ForeignModel):
    image: str = ""
    image_id: str = ""
    anon_batch: SampleNote | None = None


class _Task(ForeignModel):
    data: _Data
    annotations: list[_Annotation] = Field(default=[])


class _File(ForeignModel):
    tasks: list[_Task]


def is_label_studio(content: Any) -> bool:
    """Return whether a JSON document looks like tasks of Label Studio."""
    return isinstance(content, list)


def export_label_studio(sample: Sample, prefix: str = LOCAL_FILES) -> list[dict[str, Any]]:
    """Return a task for each sampled output.

    Args:
        sample: of a release.
        prefix: what stands before an output's path in the address that Label Studio reads it from.
    """
    note = sample_note(sample)
    return [
        {
            "data": {"image": prefix + quote(file_name(own)), "image_id": own.image_id, "anon_batch": note},
            "predictions": [{"model_version": "anon-batch", "result": _regions(own)}],
        }
        for own in sample.outputs
    ]


def note_of(content: Any, uri: str) -> SampleNote | None:
    """Return which sample a file describes; None if nothing says so."""
    notes = (task.data.anon_batch for task in _parse(content, uri))
    return next((note for note in notes if note is not None), None)


def read_label_studio(content: Any, uri: str, sample: Sample) -> ReviewerFile:
    """Return the verdicts of an export: of each task with an annotation that was not cancelled.

    A box that is no published region makes the verdict `missed`; else a choice `fine`, `ugly`, `wrong region` or `missed` is the
    verdict, and without one it is `fine`.

    Raises:
        ConfigError: the file is damaged, about another sample, or has a box outside its image.
    """
    names = by_name(sample)
    ids = {own.image_id: own for own in sample.outputs}
    judged: dict[str, Judgement] = {}
    tasks = _parse(content, uri)
    cut_count = unknown = unjudged = turned = 0
    for task in tasks:
        check_note(task.data.anon_batch, sample, uri)
        output = ids.get(task.data.image_id) or find_output(names, _path(task.data.image))
        done = [own for own in task.annotations if not own.was_cancelled]
        unknown += output is None
        unjudged += output is not None and not done
        if output is None or not done:
            continue
        results = [result for own in done for result in own.result]
        turned += sum(result.value.rotation % 360 != 0 for result in results)
        boxes, cut = read_boxes([_row(result, output, uri) for result in results if _is_box(result)], output, uri)
        cut_count += cut
        judged[output.image_id] = _judge(boxes, results)
    if not judged:
        raise ConfigError(f"{uri}: none of its {len(tasks)} tasks is an annotated image of this release's sample")
    notes = clip_note(uri, cut_count)
    for count, what in (
        (unknown, "tasks show no image of the sample, and were left out"),
        (unjudged, "tasks have no annotation, and count as not reviewed"),
        (turned, "boxes are rotated; the upright box around each was taken"),
    ):
        notes += [f"{uri}: {count} {what}"] if count else []
    return ReviewerFile("", "", judged, notes=notes)


def _parse(content: Any, uri: str) -> list[_Task]:
    if any(isinstance(own, dict) and "data" not in own for own in content):
        raise ConfigError(f"{uri}: not {_KIND}: a task has no `data`; if this is JSON-MIN, export as JSON instead")
    return check_model(_File, {"tasks": content}, uri, _KIND).tasks


def _regions(output: Output) -> list[dict[str, Any]]:
    results = []
    for number, ((x1, y1, x2, y2), label, method, synthetic) in enumerate(output.regions, 1):
        across, down = 100 / output.width, 100 / output.height
        results.append(
            {
                "id": f"region-{number}",
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": output.width,
                "original_height": output.height,
                "image_rotation": 0,
                "value": {
                    "x": x1 * across,
                    "y": y1 * down,
                    "width": (x2 - x1) * across,
                    "height": (y2 - y1) * down,
                    "rotation": 0,
                    "rectanglelabels": [label],
                },
                "meta": {"text": [f"{method}{', synthetic' if synthetic else ''}"]},
            }
        )
    return results


def _is_box(result: _Result) -> bool:
    return result.type in ("rectanglelabels", "rectangle")


def _row(result: _Result, output: Output, uri: str) -> tuple[tuple[float, ...], str]:
    """Return edges in px and the label of a box."""
    value = result.value
    if value.x is None or value.y is None or value.width is None or value.height is None:
        raise ConfigError(f"{uri}: {output.image_id}: a rectangle has no x, y, width or height")
    if result.image_rotation % 360:
        raise ConfigError(
            f"{uri}: {output.image_id}: the image was turned in Label Studio; turn it back and export again"
        )
    across, down, angle = output.width / 100, output.height / 100, math.radians(value.rotation)
    sides = (
        (0.0, 0.0),
        (value.width * across, 0.0),
        (0.0, value.height * down),
        (value.width * across, value.height * down),
    )
    corners = [
        (
            value.x * across + x * math.cos(angle) - y * math.sin(angle),
            value.y * down + x * math.sin(angle) + y * math.cos(angle),
        )
        for x, y in sides
    ]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    label = value.rectanglelabels[0] if value.rectanglelabels else DEFAULT_LABEL
    return (min(xs), min(ys), max(xs), max(ys)), label


def _judge(boxes: list[DrawnBox], results: list[_Result]) -> Judgement:
    if boxes:
        return Judgement("missed", tuple(boxes))
    chosen: list[Mark] = [
        mark for mark in MARKS for own in results for name in own.value.choices if _plain(name) == mark
    ]
    return Judgement(chosen[-1] if chosen else "fine")


def _plain(choice: str) -> str:
    return choice.strip().lower().replace(" ", "_")


def _path(address: str) -> str:
    """Return the path in an address of an image; that of local files is in its query."""
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
