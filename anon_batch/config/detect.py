"""Keys of `detect`: what to find in the images, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from anon_batch.config.section import Section


class DetectorConfig(Section):
    """One detector of the ensemble."""

    name: str = Field(description="Name of a detector: `centerface`, `yunet`, `manifest` or one of a plug-in.")
    labels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Labels of its detections to use, e.g. `[licence_plate]`; the others are dropped. null uses all.",
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score of a detection; null takes the detector's own default."
    )
    scale: float | None = Field(
        None, gt=0, le=8, description="Resize factor before this detector; null takes `detect.scale`."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="The detector's own options, which it checks itself; built-in ones have none."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _one_label_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class TileConfig(Section):
    """Detection in overlapping windows, for images larger than the detector likes."""

    size_px: int = Field(
        1536,
        ge=0,
        description="Longest side, after scaling, that is searched in one piece; larger images are "
        "searched in windows of this size and once as a whole, scaled down to it. 0 never tiles.",
    )
    overlap_px: int = Field(
        192,
        ge=0,
        description="Overlap of neighbouring windows: at least the largest face that only the windows can find.",
    )

    @model_validator(mode="after")
    def _overlap_at_most_half(self) -> TileConfig:
        if self.size_px and self.overlap_px > self.size_px // 2:
            raise ValueError(f"overlap_px {self.overlap_px} must be at most half of size_px {self.size_px}")
        return self


class DetectConfig(Section):
    """What to find in the images, and how."""

    detectors: tuple[DetectorConfig, ...] = Field(
        (DetectorConfig(name="centerface"),),
        min_length=1,
        description="Detectors whose boxes are merged: names, or mappings with `name`, `labels`, `threshold`, `scale`, "
        "`options`.",
    )
    scale: float = Field(
        1.0, gt=0, le=8, description="Resize factor before detection; 2 finds more small faces at four times the cost."
    )
    min_side_px: float = Field(
        0.0,
        ge=0,
        description="Detections whose longer side is smaller than this are ignored: small faces are then published as they "
        "are. 0 ignores none.",
    )
    merge_iou: float = Field(
        0.4,
        gt=0,
        le=1,
        description="Boxes of one label from different detectors or tiles that overlap at least this much are one detection.",
    )
    max_side_px: int | None = Field(
        None,
        ge=64,
        description="Longest side of an image as the detectors see it: larger ones are downscaled to it, at a fraction of the "
        "cost, and what is too small there is missed. `scale` and `tile` count from there. null: full size.",
    )
    tile: TileConfig = Field(default_factory=TileConfig, description="Windows for large images.")
    trust_boxes: bool = Field(
        False,
        description="Start although many boxes of the manifest seem to be in another scale; rows whose boxes cannot be right "
        "are withheld one by one all the same.",
    )
    refine_small: bool = Field(
        True,
        description="Run the network once more on each small face, cropped and enlarged: better boxes, landmarks and scores for "
        "one or two milliseconds a face.",
    )
    batch_size: int = Field(8, ge=1, le=1024, description="Images in one call of the detector.")
    backend: Literal["auto", "onnxruntime", "openvino", "torch"] = Field(
        "auto",
        description="What runs the networks. `auto`: torch when `engine.num_gpus` is above 0, else onnxruntime. "
        "`openvino` needs the extra of that name.",
    )
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto",
        description="Numeric precision of the CenterFace model. `int8`: 8-bit integers, twice as fast, on onnxruntime only; "
        "`auto`: int8 on onnxruntime, else fp32.",
    )

    @field_validator("detectors", mode="before")
    @classmethod
    def _names_to_mappings(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Sequence):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value
