"""Read the verdict files that review pages save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import Mark
from anon_batch.release.review.draw import ReviewSettings, Sample
from anon_batch.release.review.judgements import (
    ForeignModel,
    Judgement,
    ReviewerFile,
    check_model,
    clip_box,
    clip_note,
)
from anon_batch.release.review.page import VERDICT_FORMAT, VERDICT_VERSION
from anon_batch.release.review.sample import Output
from anon_batch.release.review.seal import review_id, unseal

_KIND = "a verdict file of a review page"


class _Settings(ForeignModel):
    claim: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    allow_missed: int = Field(ge=0)
    allow_uncaught: int = Field(ge=0)


class _Box(ForeignModel):
    box: tuple[float, float, float, float]
    label: str


class _Mark(ForeignModel):
    item: int = Field(ge=0)
    mark: Mark
    boxes: list[_Box] = Field(default=[])
    seconds: float | None = None


class _File(ForeignModel):
    format: Literal["anon-batch review"]
    version: int
    review_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    run_id: str
    sample_sha256: str
    settings: _Settings
    ids: list[str]
    sealed: str
    reviewer: str = Field("", max_length=200)
    marks: list[_Mark]


def is_verdict_file(content: Any) -> bool:
    """Return whether a JSON document was saved by a review page."""
    return isinstance(content, Mapping) and content.get("format") == VERDICT_FORMAT


def settings_of(content: Any, uri: str) -> ReviewSettings:
    """Return the settings of the page that saved a file.

    Raises:
        ConfigError: the file is not what a page saves.
    """
    return ReviewSettings(**_parse(content, uri).settings.model_dump())


def read_verdict_file(content: Any, uri: str, sample: Sample) -> ReviewerFile:
    """Return the verdicts of a file.

    Args:
        content: the JSON document.
        uri: its address, for messages.
        sample: drawn from the release with the file's settings.

    Raises:
        ConfigError: the file is damaged, or belongs to another release or to another state of it.
    """
    file = _parse(content, uri)
    if file.run_id != sample.run_id:
        raise ConfigError(f"{uri}: its page shows run {file.run_id}, this release is of run {sample.run_id}")
    if file.sample_sha256 != sample.sha256:
        raise ConfigError(
            f"{uri}: the release has changed since this page was made, so its verdicts are about other images; make a new page"
        )
    outputs = {own.image_id: own for own in (*sample.outputs, *sample.spare)}
    try:
        truth = unseal(file.review_id, file.sealed)
    except ValueError as exc:
        raise ConfigError(f"{uri}: damaged ({exc})") from None
    sampled = [name for name, box in zip(file.ids, truth, strict=False) if box is None]
    whole = len(truth) == len(file.ids) and sorted(sampled) == sorted(own.image_id for own in sample.outputs)
    if not whole or set(file.ids) - set(outputs) or review_id(sample, file.ids, truth) != file.review_id:
        raise ConfigError(f"{uri}: damaged: its list of images is not the one that belongs to review {file.review_id}")
    notes: list[str] = []
    judged = _judgements(file, outputs, uri, notes)
    planted = {index: (file.ids[index], box) for index, box in enumerate(truth) if box is not None}
    return ReviewerFile(
        file.reviewer.strip(),
        file.review_id,
        {file.ids[index]: own for index, own in judged.items() if index not in planted},
        planted,
        {index: own for index, own in judged.items() if index in planted},
        notes,
    )


def _parse(content: Any, uri: str) -> _File:
    if content.get("version") != VERDICT_VERSION:
        raise ConfigError(
            f"{uri}: version {content.get('version')!r} of a verdict file, this version of anon-batch reads {VERDICT_VERSION}"
        )
    return check_model(_File, content, uri, _KIND)


def _judgements(file: _File, outputs: Mapping[str, Output], uri: str, notes: list[str]) -> dict[int, Judgement]:
    judged: dict[int, Judgement] = {}
    cut_count = 0
    for own in file.marks:
        if own.item >= len(file.ids) or own.item in judged:
            raise ConfigError(f"{uri}: not {_KIND}: image {own.item} is unknown, or has two verdicts")
        if own.boxes and own.mark != "missed":
            raise ConfigError(f"{uri}: not {_KIND}: image {own.item} has boxes, but is marked {own.mark}")
        clipped = [clip_box(box.box, box.label, outputs[file.ids[own.item]], uri) for box in own.boxes]
        cut_count += sum(cut for _, cut in clipped)
        judged[own.item] = Judgement(own.mark, tuple(box for box, _ in clipped), own.seconds)
    notes += clip_note(uri, cut_count)
    return judged
