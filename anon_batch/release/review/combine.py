"""Put the verdicts of several files together: what counts for each image, which planted faces were caught, who agrees."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import MARKS, DrawnBox, Verdict
from anon_batch.release.review.agreement import cohens_kappa
from anon_batch.release.review.judgements import Judgement, ReviewerFile
from anon_batch.release.review.seal import is_caught, touches
from anon_batch.stats.figure import Figure

_UNIT = "outputs"
_SAME_IOU = 0.5  # of two reviewers' boxes around one thing


@dataclass(frozen=True, slots=True)
class Combined:
    """All verdicts on a sample.

    Args:
        review_id: of the page; empty if all files are of other programs.
        reviewers: names, "" for those that gave none.
        verdicts: id of a sampled output -> the worst verdict, with everybody's boxes.
        extra: the same for outputs with planted faces in which something else was found; no evidence.
        unmeasured: ids of outputs that were judged, and not as missed, only by reviewers who judged no planted face although
            others did: the catch rate of others says nothing about them.
        planted: number of planted faces.
        caught: how many of them all reviewers caught that saw the image; an image that nobody judged counts as not caught.
        seconds: time of each verdict.
        kappa: lowest agreement of any two reviewers.
    """

    review_id: str
    reviewers: tuple[str, ...]
    verdicts: Mapping[str, Verdict]
    extra: Mapping[str, Verdict]
    unmeasured: frozenset[str]
    planted: int
    caught: int
    seconds: tuple[float, ...]
    kappa: Figure


def combine(files: Sequence[ReviewerFile]) -> Combined:
    """Combine files on one sample. Files with the same name are one reviewer's parts; the later file counts.

    Raises:
        ConfigError: they are of different reviews.
    """
    ids = {own.review_id for own in files if own.review_id}
    if len(ids) > 1:
        raise ConfigError(
            f"these files are of {len(ids)} different reviews ({', '.join(sorted(ids))}); import those of one review at a time"
        )
    people = _by_reviewer(files)
    planted = next((own.planted for own in files if own.planted), {})
    caught = sum(_all_caught(index, box, people) for index, (_, box) in planted.items())
    extra: dict[str, list[Judgement]] = {}
    for own in people:
        for index, verdict in own.judged_plants.items():
            image_id, face = planted[index]
            if real := tuple(box for box in verdict.boxes if not touches(face, box.edges)):
                extra.setdefault(image_id, []).append(Judgement("missed", real))
    judged: dict[str, list[Judgement]] = {}
    for own in people:
        for image_id, verdict in own.judged.items():
            judged.setdefault(image_id, []).append(verdict)
    measured = {name for own in people if own.judged_plants or not planted for name in own.judged}
    every = [verdict for own in people for verdict in (*own.judged.values(), *own.judged_plants.values())]
    return Combined(
        review_id=next(iter(ids), ""),
        reviewers=tuple(own.reviewer for own in people),
        verdicts={name: _worst(name, several) for name, several in sorted(judged.items())},
        extra={name: _worst(name, several) for name, several in sorted(extra.items())},
        unmeasured=frozenset(
            name
            for name, several in judged.items()
            if name not in measured and all(own.mark != "missed" for own in several)
        ),
        planted=len(planted),
        caught=caught,
        seconds=tuple(own.seconds for own in every if own.seconds is not None),
        kappa=_kappa(people),
    )


def _by_reviewer(files: Sequence[ReviewerFile]) -> list[ReviewerFile]:
    people: list[ReviewerFile] = []
    for own in files:
        at = next((i for i, one in enumerate(people) if own.reviewer and one.reviewer == own.reviewer), None)
        if at is None:
            people.append(own)
            continue
        one = people[at]
        people[at] = ReviewerFile(
            one.reviewer,
            one.review_id or own.review_id,
            {**one.judged, **own.judged},
            {**one.planted, **own.planted},
            {**one.judged_plants, **own.judged_plants},
        )
    return people


def _all_caught(index: int, face: tuple[float, float, float, float], people: Iterable[ReviewerFile]) -> bool:
    seen = [own.judged_plants[index] for own in people if index in own.judged_plants]
    return bool(seen) and all(
        verdict.mark == "missed" and is_caught(face, [box.edges for box in verdict.boxes]) for verdict in seen
    )


def _worst(image_id: str, several: Sequence[Judgement]) -> Verdict:
    mark = max((own.mark for own in several), key=MARKS.index)
    boxes: list[DrawnBox] = []
    for box in itertools.chain.from_iterable(own.boxes for own in several):
        same = next((i for i, one in enumerate(boxes) if one.label == box.label and _iou(one, box) >= _SAME_IOU), None)
        if same is None:
            boxes.append(box)
        else:
            boxes[same] = _around(boxes[same], box)
    return Verdict(image_id, mark, tuple(boxes))


def _around(one: DrawnBox, other: DrawnBox) -> DrawnBox:
    low_x, low_y = min(one.x1, other.x1), min(one.y1, other.y1)
    return DrawnBox(low_x, low_y, max(one.x2, other.x2), max(one.y2, other.y2), one.label)


def _iou(one: DrawnBox, other: DrawnBox) -> float:
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    both = max(width, 0.0) * max(height, 0.0)
    return both / (_area(one) + _area(other) - both)


def _area(box: DrawnBox) -> float:
    return (box.x2 - box.x1) * (box.y2 - box.y1)


def _kappa(people: Sequence[ReviewerFile]) -> Figure:
    if len(people) < 2:
        return Figure.missing("one reviewer; a second one who judges the same page measures agreement")
    figures = []
    for one, other in itertools.combinations(people, 2):
        both = sorted(one.judged.keys() & other.judged.keys())
        figures.append(
            cohens_kappa([one.judged[name].mark for name in both], [other.judged[name].mark for name in both], _UNIT)
        )
    known = [own for own in figures if own.value is not None]
    return min(known, key=lambda own: own.value or 0.0) if known else figures[0]
