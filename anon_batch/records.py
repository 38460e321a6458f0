"""The records that pass through a run: frozen, without I/O, with shapes checked at construction.

Coordinates are pixels of the upright image (EXIF orientation applied), x to the right, y down. A box `xyxy` is
(x1, y1, x2, y2) in continuous coordinates; an `extent` is the same in whole pixels, half-open: rows y1..y2-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
PixelArray = npt.NDArray[np.uint8]

Status = Literal["anonymized", "clean", "withheld", "failed"]
STATUSES: tuple[Status, ...] = ("anonymized", "clean", "withheld", "failed")
Shape = Literal["ellipse", "rectangle", "face", "outline"]
DEFAULT_LABEL = "face"
UNIT_SIZE = (1, 1)  # of the image that boxes in shares of its sides are for, px
PLATE_LABEL = "licence_plate"
TEXT_LABEL = "text"
PERSON_LABEL = "person"
OUTLINE_SIDE = 64  # cells of an outline
MAX_SHARE = 1.5  # of a side that a box in shares reaches to, where the border cuts it


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_pixels(pixels: PixelArray) -> None:
    shape = pixels.shape
    _require(len(shape) == 3 and shape[2] == 3 and min(shape) > 0, f"pixels: {shape}, expected (H, W, 3)")
    _require(pixels.dtype == np.uint8, f"pixels: {pixels.dtype}, expected uint8")


def _require_outline(outline: BoolArray) -> None:
    _require(
        outline.shape == (OUTLINE_SIDE, OUTLINE_SIDE) and outline.dtype == np.bool_ and bool(outline.any()),
        f"outline: {outline.dtype} {outline.shape}, expected bool {(OUTLINE_SIDE, OUTLINE_SIDE)}, not empty",
    )


def read_only(pixels: PixelArray) -> PixelArray:
    """Return a view of an array that cannot be written to."""
    view = pixels.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The labelled regions of one image.

    Args:
        boxes: (N, 4) float32 xyxy.
        ignore: (N,) bool; an ignored region counts neither as found nor as missed.
        labels: N labels; left out, every region is a DEFAULT_LABEL.
        keep: (N,) bool; what a detector finds there stays untouched on the owner's word. Left out, none is kept.
        size: width and height of the image that the boxes are for, px, where they are known; compared with the real ones.
            UNIT_SIZE: the boxes are shares of the image's sides.
        is_scaled: whether the boxes were shares, so that their scale is sure.
    """

    boxes: FloatArray
    ignore: BoolArray
    labels: tuple[str, ...] = None  # type: ignore[assignment]
    keep: BoolArray = None  # type: ignore[assignment]
    size: tuple[int, int] | None = None
    is_scaled: bool = False

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.labels is None:
            object.__setattr__(self, "labels", (DEFAULT_LABEL,) * n)
        if self.keep is None:
            object.__setattr__(self, "keep", np.zeros(n, np.bool_))
        _require(self.boxes.ndim == 2 and self.boxes.shape[1] == 4, f"boxes: {self.boxes.shape}, expected (N, 4)")
        _require(self.ignore.shape == (n,), f"ignore: {self.ignore.shape}, expected ({n},)")
        _require(len(self.labels) == n, f"labels: {len(self.labels)}, expected {n}")
        _require(self.keep.shape == (n,), f"keep: {self.keep.shape}, expected ({n},)")

    @classmethod
    def empty(cls) -> GroundTruth:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.bool_))

    @property
    def is_normalised(self) -> bool:
        """Whether the boxes are shares of the image's sides."""
        return self.size == UNIT_SIZE and not self.is_scaled

    def in_pixels(self, width: int, height: int) -> GroundTruth:
        """Return the regions in px of an image of this size: shares are scaled, boxes in px stay."""
        if not self.is_normalised:
            return self
        with np.errstate(over="ignore"):  # because a damaged box is a fault of its own
            boxes = self.boxes * np.array([width, height] * 2, np.float32)
        return replace(self, boxes=boxes, size=(width, height), is_scaled=True)

    def take(self, indices: npt.NDArray[np.integer[Any]] | BoolArray) -> GroundTruth:
        """Return the regions at `indices` (integers, in that order, or a bool mask)."""
        at = np.flatnonzero(indices) if indices.dtype == np.bool_ else indices
        labels = tuple(self.labels[int(i)] for i in at)
        return GroundTruth(self.boxes[at], self.ignore[at], labels, self.keep[at], self.size, self.is_scaled)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class IdentifiedFaces:
    """Faces of one image that were compared with those of others.

    Args:
        boxes: (N, 4) float32 xyxy, px of the upright image.
        persons: N tokens of whom they show; None for a face that could not be compared.
    """

    boxes: FloatArray
    persons: tuple[str | None, ...]

    def __post_init__(self) -> None:
        n = len(self.persons)
        _require(self.boxes.shape == (n, 4), f"boxes: {self.boxes.shape}, expected ({n}, 4)")


Persons = str | tuple[str | None, ...] | IdentifiedFaces
"""Whom an image shows: the token of its only region, one for each of the manifest's regions, or faces that were compared."""


@dataclass(frozen=True, slots=True, eq=False)
class ManifestRow:
    """One image of the dataset: where its bytes are and what is known about it.

    Args:
        index: position in the manifest, from 0.
        image_id: unique, a safe relative path.
        uri: absolute fsspec address. `FILE.parquet#column=image&row=17` names a cell of an `image` struct.
        offset, length: bytes of a member inside `uri`; both or neither.
        size_bytes, sha256: of the source bytes, checked when given.
        regions: ground truth, or the boxes to anonymize; None means unknown, which differs from no region.
        extra: the manifest's other columns, passed through to the release.
        slices: the manifest's private columns `slice_*`, for the statistics alone: column -> value.
        drawn: what people drew around something that the run missed; anonymized besides what the detectors find.
        persons: tokens of whom the regions show, None for who is unknown. None if no person keeps a face.
    """

    index: int
    image_id: str
    uri: str
    offset: int | None = None
    length: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    regions: GroundTruth | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)
    drawn: Detections | None = None
    persons: Persons | None = None

    def measured(self, width: int, height: int) -> ManifestRow:
        """Return the row of an image of this size, px: its regions are in px."""
        if self.regions is None or not self.regions.is_normalised:
            return self
        return replace(self, regions=self.regions.in_pixels(width, height))


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """The bytes of one output image.

    Args:
        data: the file.
        format: Pillow's name of the format: JPEG, PNG, WEBP, ...
        width, height: of the upright image, px.
        synthetic: whether a model generated a part of what it shows.
    """

    data: bytes
    format: str
    width: int
    height: int
    synthetic: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """One whole image, for anonymizing and encoding.

    Args:
        image_id: the manifest's id.
        pixels: (H, W, 3) uint8 RGB, upright.
        format: Pillow's name of the source format: JPEG, PNG, WEBP, ...
        orientation: EXIF orientation 1..8 that was applied to reach `pixels`.
        others: orientations that other readers of the source may apply.
        native: (H, W) or (H, W, C) upright samples in the file's own mode and depth, when that is not 8-bit RGB.
        native_mode: what `native` holds: RGB, L, LA, RGBA, P, 1, CMYK, I;16, RGB;16, RGBA;16.
        palette: (N, 4) uint8 RGBA of mode P, else None.
        white: sample of a 16-bit mode that is 255 in `pixels`: 65535, or the largest number of fewer bits.
        source: bytes of a file with these pixels, so that an encoder can keep its tables and untouched blocks.
    """

    image_id: str
    pixels: PixelArray
    format: str = "PNG"
    orientation: int = 1
    others: frozenset[int] = frozenset()
    native: npt.NDArray[Any] | None = None
    native_mode: str = "RGB"
    palette: PixelArray | None = None
    white: int = 65535
    source: bytes = b""

    def __post_init__(self) -> None:
        _require_pixels(self.pixels)
        _require(1 <= self.orientation <= 8, f"orientation: {self.orientation}, expected 1..8")

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """An image as detectors see it: upright, perhaps downscaled.

    Args:
        image_id: the manifest's id.
        pixels: (H, W, 3) uint8 RGB, read-only, because several detectors see them.
        scale_x, scale_y: px of the whole image for each px of the preview.
    """

    image_id: str
    pixels: PixelArray
    scale_x: float = 1.0
    scale_y: float = 1.0

    def __post_init__(self) -> None:
        _require_pixels(self.pixels)
        _require(min(self.scale_x, self.scale_y) > 0, f"scale: {self.scale_x}, {self.scale_y}, expected > 0")
        object.__setattr__(self, "pixels", read_only(self.pixels))

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def whole_size(self) -> tuple[int, int]:
        """Return width and height of the whole image, px."""
        return round(self.width * self.scale_x), round(self.height * self.scale_y)

    def resized(self, pixels: PixelArray) -> Preview:
        """Return a preview of the same image with these pixels."""
        width, height = self.whole_size
        return Preview(self.image_id, pixels, width / pixels.shape[1], height / pixels.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one image.

    Args:
        boxes: (N, 4) float32 xyxy, px of the upright image.
        scores: (N,) float32 in [0, 1].
        landmarks: (N, 5, 2) float32 xy of right eye, left eye, nose tip, right and left mouth corner (left to right in
            the image for an upright face); of a licence plate top left and top right corner, middle, bottom left and bottom right
            corner. NaN where the detector has none.
        detectors: N names, the detector that found each.
        labels: N labels, what each is; left out, every detection is a DEFAULT_LABEL.
        witnesses: (N, K, 5, 2) float32 xy, landmarks of other detections of the same face that were merged into it, from other
            detectors or other tiles; NaN where one has fewer than K. Left out, K is 0.
        finders: N sets of names, all detectors that found each; left out, the one in `detectors`.
        outlines: N times which cells of its surroundings show the thing itself, (OUTLINE_SIDE, OUTLINE_SIDE) bool, see
            `outline.frame_of`; None where the detector gives none. Left out, none has one.
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray
    detectors: tuple[str, ...]
    labels: tuple[str, ...] = None  # type: ignore[assignment]
    witnesses: FloatArray = None  # type: ignore[assignment]
    finders: tuple[frozenset[str], ...] = None  # type: ignore[assignment]
    outlines: tuple[BoolArray | None, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.detectors)
        if self.outlines is None:
            object.__setattr__(self, "outlines", (None,) * n)
        if self.finders is None:
            object.__setattr__(self, "finders", tuple(frozenset((name,)) for name in self.detectors))
        if self.labels is None:
            object.__setattr__(self, "labels", (DEFAULT_LABEL,) * n)
        if self.witnesses is None:
            object.__setattr__(self, "witnesses", np.zeros((n, 0, 5, 2), np.float32))
        _require(len(self.labels) == n, f"labels: {len(self.labels)}, expected {n}")
        _require(len(self.finders) == n, f"finders: {len(self.finders)}, expected {n}")
        _require(len(self.outlines) == n, f"outlines: {len(self.outlines)}, expected {n}")
        for outline in self.outlines:
            if outline is not None:
                _require_outline(outline)
        # By types, because a loop over the labels costs more than everything else here.
        if odd := {kind.__name__ for kind in set(map(type, self.labels)) if not issubclass(kind, str)}:
            raise ValueError(f"labels: {', '.join(sorted(odd))}, expected text")
        _require(self.boxes.shape == (n, 4), f"boxes: {self.boxes.shape}, expected ({n}, 4)")
        _require(self.scores.shape == (n,), f"scores: {self.scores.shape}, expected ({n},)")
        _require(self.landmarks.shape == (n, 5, 2), f"landmarks: {self.landmarks.shape}, expected ({n}, 5, 2)")
        known = self.witnesses.shape
        _require(
            len(known) == 4 and (known[0], *known[2:]) == (n, 5, 2), f"witnesses: {known}, expected ({n}, K, 5, 2)"
        )
        _require(bool(np.isfinite(self.boxes).all()), "boxes: not finite")

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32), ())

    @classmethod
    def merge(cls, parts: Sequence[Detections]) -> Detections:
        if not parts:
            return cls.empty()
        most = max(p.witnesses.shape[1] for p in parts)
        return cls(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.landmarks for p in parts]),
            tuple(name for p in parts for name in p.detectors),
            tuple(label for p in parts for label in p.labels),
            np.concatenate([padded_witnesses(p.witnesses, most) for p in parts]),
            tuple(names for p in parts for names in p.finders),
            tuple(outline for p in parts for outline in p.outlines),
        )

    def take(self, indices: npt.NDArray[np.integer[Any]] | BoolArray) -> Detections:
        """Return the detections at `indices` (integers, in that order, or a bool mask)."""
        at = np.flatnonzero(indices) if indices.dtype == np.bool_ else indices
        positions = at.tolist()
        return Detections(
            self.boxes[at],
            self.scores[at],
            self.landmarks[at],
            tuple(map(self.detectors.__getitem__, positions)),
            tuple(map(self.labels.__getitem__, positions)),
            self.witnesses[at],
            tuple(map(self.finders.__getitem__, positions)),
            tuple(map(self.outlines.__getitem__, positions)),
        )

    def __len__(self) -> int:
        return len(self.detectors)


def padded_witnesses(witnesses: FloatArray, count: int) -> FloatArray:
    """Return witnesses (N, K, 5, 2) with NaN added up to (N, count, 5, 2)."""
    missing = count - witnesses.shape[1]
    return np.pad(witnesses, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=np.nan) if missing else witnesses


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """What to anonymize for one detection.

    Args:
        index: position in the image's detections, from 0.
        label: of the detection; the policy of this label applies.
        subject: what the seed derives from: the index, or who it is where identities stay consistent.
        box: xyxy of the detection, px.
        extent: (x1, y1, x2, y2) whole px, half-open, inside the image: everything that may change, the soft edge included.
        mask_extent: the same for the mask alone, inside `extent`: the box around it. Never empty.
        centre, radii: (x, y) and (rx, ry) px, of the expanded box before it was clipped to the image. Of a `face` the radii are
            those along the face's own axes.
        shape: the mask inside `mask_extent`.
        score: of the detection.
        landmarks: (5, 2) px, or None.
        edge_px: width of the soft edge around the mask.
        outline: (h, w) bool on `mask_extent`, the mask where it is an `outline`, or none of the shapes; None means `shape`.
        angle: by which a `face` is turned, radians: the direction atan2(dy, dx) in the image of its own axis from right to left.
            0 for every other shape.
        keypoints: (33, 4) of a person, see `detect.pose`: x, y, depth, px, and confidence; or None. Only methods that declare
            `uses_keypoints` get them.
        within: index of the region that this one is a part of, whose mask holds this one's, and whose method renders both; None
            where it has its own.
    """

    index: int
    label: str
    subject: int | str
    box: tuple[float, float, float, float]
    extent: tuple[int, int, int, int]
    mask_extent: tuple[int, int, int, int]
    centre: tuple[float, float]
    radii: tuple[float, float]
    shape: Shape
    score: float
    landmarks: FloatArray | None = None
    edge_px: int = 0
    outline: BoolArray | None = None
    angle: float = 0.0
    keypoints: FloatArray | None = None
    within: int | None = None

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.mask_extent
        left, top, right, bottom = self.extent
        _require(x1 < x2 and y1 < y2, f"mask extent: {self.mask_extent}, expected x1 < x2 and y1 < y2")
        _require(
            0 <= left <= x1 and 0 <= top <= y1 and x2 <= right and y2 <= bottom,
            f"extent: {self.extent}, expected at least 0 and around the mask extent {self.mask_extent}",
        )
        if self.outline is not None:
            _require(
                self.outline.shape == (y2 - y1, x2 - x1)
                and self.outline.dtype == np.bool_
                and bool(self.outline.any()),
                f"outline: {self.outline.dtype} {self.outline.shape}, expected bool {(y2 - y1, x2 - x1)}, not empty",
            )


@dataclass(frozen=True, slots=True, eq=False)
class AnonymizedImage:
    """An image after all of its regions were anonymized.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
        touched: (H, W) bool, every pixel that may have changed: the masks and their soft edges.
        methods: region index -> name of the method that rendered it.
        details: what went wrong on the way, for the private audit.
        failures: name of a check -> regions that failed it and went to the next method.
        traits: region index -> traits of its generated face, see `Patch.traits`; for evaluation alone.
    """

    pixels: PixelArray
    touched: BoolArray
    methods: Mapping[int, str]
    details: tuple[str, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    traits: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.pixels.dtype == np.uint8, f"pixels: {self.pixels.dtype}, expected uint8")
        _require(
            self.touched.shape == self.pixels.shape[:2],
            f"touched: {self.touched.shape}, expected {self.pixels.shape[:2]}",
        )


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """An anonymized region as the public provenance shows it: its extent, never the detection's own box.

    Args:
        x1, y1, x2, y2: extent, whole px, half-open.
        label: what was anonymized.
        method: the method that rendered it.
        synthetic: whether a model generated what it shows now.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    label: str
    method: str
    synthetic: bool


@dataclass(frozen=True, slots=True)
class ProvenanceRow:
    """The public outcome of one manifest row.

    Args:
        image_id: the manifest's id.
        status: anonymized, clean, withheld or failed.
        reason: code when withheld or failed, else None.
        output: key of the output below OUTPUT, or None.
        member: name inside `output` when that is a tar or Parquet shard, else None.
        sha256, size_bytes, format: of the output file.
        width, height: of the upright image, px.
        regions: what was anonymized.
        extra: pass-through columns.
    """

    image_id: str
    status: Status
    reason: str | None = None
    output: str | None = None
    member: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    regions: tuple[RegionRecord, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool | None:
        """Whether a model generated a part of what the output shows; None without an output."""
        return None if self.output is None else any(region.synthetic for region in self.regions)

    def __post_init__(self) -> None:
        _require(self.status in STATUSES, f"status: {self.status!r}, expected one of {STATUSES}")
        published = self.status in ("anonymized", "clean")
        _require(published == (self.output is not None), f"status {self.status} with output {self.output!r}")
        _require(published == (self.reason is None), f"status {self.status} with reason {self.reason!r}")
        _require(
            (self.status == "anonymized") == bool(self.regions), f"status {self.status}, {len(self.regions)} regions"
        )


@dataclass(frozen=True, slots=True, order=True)
class ShardSpec:
    """Rows `start` .. `start + count - 1` of the plan: the unit of work and of commit.

    Args:
        start, count: row range.
    """

    start: int
    count: int

    def __post_init__(self) -> None:
        _require(self.start >= 0 and self.count > 0, f"shard {self.start}+{self.count}")

    @property
    def stop(self) -> int:
        return self.start + self.count

    @property
    def name(self) -> str:
        return f"{self.start:010d}-{self.count}"


Outcome = Literal["committed", "already_committed", "exhausted", "error"]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """How one shard ended; the worker sends it to the driver.

    Args:
        spec: the shard.
        outcome: committed, already_committed, exhausted (no attempt left) or error.
        statuses: status -> rows, when committed.
        reasons: reason -> rows without an output, when committed.
        first_without_output: id of the first of these rows.
        seconds: wall time in the worker.
        timings: stage -> seconds, summed over threads.
        error: message, when the outcome is error.
        retryable: whether a further attempt may help; False stops the run.
        store_is_away: whether the attempt ended because a store throttled or answered nobody for `storage.retry_for_s`.
        code: of the error, see `errors.error_code`; empty when there is none.
        place: where it failed, without a name of an image or source: a store, or lines of code.
        stats: the shard's statistics as JSON, with what its ground truth tells, when committed.
        retries: code -> storage calls that the worker repeated since its last result.
    """

    spec: ShardSpec
    outcome: Outcome
    statuses: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    first_without_output: str = ""
    seconds: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    retryable: bool = True
    store_is_away: bool = False
    code: str = ""
    place: str = ""
    stats: str = ""
    retries: Mapping[str, int] = field(default_factory=dict)
