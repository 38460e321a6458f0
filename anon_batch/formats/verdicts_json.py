"""verdicts-*.json: what people found in single images of a release. Private: the place of a missed face points at a person.

A patch of the release reads it: a box of a missed region is anonymized in the image that `image_id` names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.versions import explain_other_version
from anon_batch.records import DEFAULT_LABEL

VERDICTS_VERSION = 1

Mark = Literal["fine", "ugly", "wrong_region", "missed"]
MARKS: tuple[Mark, ...] = get_args(Mark)  # the later one counts where two reviewers differ


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box that a person drew around something that was missed.

    Args:
        x1, y1, x2, y2: px of the upright output, x1 < x2 and y1 < y2, inside the image.
        label: what it shows.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = DEFAULT_LABEL

    def __post_init__(self) -> None:
        if not all(math.isfinite(edge) for edge in (self.x1, self.y1, self.x2, self.y2)):
            raise ValueError("a box has an edge that is not a finite number")
        if not (0 <= self.x1 < self.x2 and 0 <= self.y1 < self.y2):
            raise ValueError(f"a box is {self.edges}, expected x1 < x2 and y1 < y2 inside the image")
        if not self.label:
            raise ValueError("a box has an empty label")

    @property
    def edges(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.x2, self.y2


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one image; only a `missed` one has boxes, and it may have none."""

    image_id: str
    mark: Mark
    boxes: tuple[DrawnBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdicts of one review.

    Args:
        run_id: of the run that wrote the release.
        review_id: of the sample.
        sample_sha256: of ids and digests of the sampled outputs.
        created_at: UTC, ISO 8601.
        tool_version: of this package.
        reviewers: names that the reviewers gave themselves.
        verdicts: in the order of ids.
    """

    run_id: str
    review_id: str
    sample_sha256: str
    created_at: str
    tool_version: str
    reviewers: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> bytes:
        """Return the content of the file."""
        content = {
            "version": VERDICTS_VERSION,
            "run_id": self.run_id,
            "review_id": self.review_id,
            "sample_sha256": self.sample_sha256,
            "created_at": self.created_at,
            "tool_version": self.tool_version,
            "reviewers": list(self.reviewers),
            "verdicts": [
                {
                    "image_id": own.image_id,
                    "verdict": own.mark,
                    "boxes": [{"box": list(box.edges), "label": box.label} for box in own.boxes],
                }
                for own in self.verdicts
            ],
        }
        return json.dumps(content, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Verdicts:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            ConfigError: another version of this package wrote it.
            IntegrityError: it is damaged.
        """
        try:
            read = json.loads(data)
            if (version := read["version"]) != VERDICTS_VERSION:
                raise ConfigError(explain_other_version(uri, "ledger", version, VERDICTS_VERSION))
            return cls(
                run_id=str(read["run_id"]),
                review_id=str(read["review_id"]),
                sample_sha256=str(read["sample_sha256"]),
                created_at=str(read["created_at"]),
                tool_version=str(read["tool_version"]),
                reviewers=tuple(str(name) for name in read["reviewers"]),
                verdicts=tuple(_verdict(own) for own in read["verdicts"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None


def _verdict(read: Mapping[str, Any]) -> Verdict:
    if read["verdict"] not in MARKS:
        raise ValueError(f"unknown verdict {read['verdict']!r}")
    boxes = []
    for own in read["boxes"]:
        x1, y1, x2, y2 = map(float, own["box"])
        boxes.append(DrawnBox(x1, y1, x2, y2, str(own["label"])))
    return Verdict(str(read["image_id"]), read["verdict"], tuple(boxes))
