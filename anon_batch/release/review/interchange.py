"""What COCO and Label Studio files have in common: the sample that they describe, and new boxes beside published regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from anon_batch.errors import ConfigError
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.release.review.draw import ReviewSettings, Sample
from anon_batch.release.review.judgements import ForeignModel, clip_box
from anon_batch.release.review.sample import Output

_SAME_PX = 1.0  # edges closer than this are those of a published region


class SampleNote(ForeignModel):
    """Which sample a file describes, as an export writes it into the file."""

    run_id: str
    sample_sha256: str
    claim: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    allow_missed: int = Field(ge=0)
    allow_uncaught: int = Field(ge=0)

    @property
    def settings(self) -> ReviewSettings:
        """What decided the sample."""
        return ReviewSettings(self.claim, self.seed, self.allow_missed, self.allow_uncaught)


def sample_note(sample: Sample) -> dict[str, Any]:
    """Return what `SampleNote` reads."""
    return {"run_id": sample.run_id, "sample_sha256": sample.sha256, **sample.settings.to_json()}


def check_note(note: SampleNote | None, sample: Sample, uri: str) -> None:
    """Refuse a file about another release, or another state of it; a file without a note is taken for one of the sample.

    Raises:
        ConfigError: it is about another sample.
    """
    if note is not None and (note.run_id, note.sample_sha256) != (sample.run_id, sample.sha256):
        raise ConfigError(
            f"{uri}: was exported from another release, or the release has changed since; export the sample again"
        )


def by_name(sample: Sample) -> dict[str, Output]:
    """Return the sampled outputs by the file names that exports give them, and by their ids."""
    return {name: own for own in sample.outputs for name in (file_name(own), own.image_id)}


def file_name(output: Output) -> str:
    """Return the relative path of an output in exports: below OUTPUT, or its id where it lies in a shard file."""
    return output.key if output.member is None else output.image_id


def new_boxes(boxes: Iterable[DrawnBox], output: Output) -> list[DrawnBox]:
    """Return the boxes that are not published regions of the output."""
    return [box for box in boxes if not any(_is_same(box, region.extent) for region in output.regions)]


def find_output(names: Mapping[str, Output], name: str) -> Output | None:
    """Return the output that a name of another program means: equal, or ending in a whole path of ours; None without one."""
    parts = name.replace("\\", "/").split("/")
    for start in range(len(parts)):
        if (found := names.get("/".join(parts[start:]))) is not None:
            return found
    return None


def read_boxes(rows: Sequence[tuple[Sequence[float], str]], output: Output, uri: str) -> tuple[list[DrawnBox], int]:
    """Return the new ones of boxes (edges xyxy px, label), and how many boxes had to be clipped.

    Raises:
        ConfigError: a box is outside its image.
    """
    clipped = [clip_box(edges, label, output, uri) for edges, label in rows]
    return new_boxes((box for box, _ in clipped), output), sum(cut for _, cut in clipped)


def _is_same(box: DrawnBox, extent: tuple[int, int, int, int]) -> bool:
    return all(abs(a - b) <= _SAME_PX for a, b in zip(box.edges, extent, strict=True))
