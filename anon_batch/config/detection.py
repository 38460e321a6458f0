"""Keys of `detect`: finding the faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from anon_batch.config.section import Section


class DetectorConfig(Section):
    """One detector of the ensemble."""

    name: str = Field(description="Name of a detector: `centerface`, `yunet`, `manifest` or one of a plug-in.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score that counts as a face; null takes the detector's own default."
    )
    scale: float | None = Field(
        None, gt=0, le=8, description="Resize factor before this detector; null takes `detect.scale`."
    )


class TileConfig(Section):
    """Detection in overlapping windows, for pictures larger than the detector likes."""

    size_px: int = Field(
        1536,
        ge=0,
        description="Longest side, after scaling, that is searched in one piece; larger pictures are "
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
    """Finding the faces."""

    detectors: tuple[DetectorConfig, ...] = Field(
        (DetectorConfig(name="centerface"),),
        min_length=1,
        description="Detectors whose boxes are merged for recall: names, or mappings with `name`, `threshold`, `scale`.",
    )
    scale: float = Field(
        1.0, gt=0, le=8, description="Resize factor before detection; 2 finds more small faces at four times the cost."
    )
    min_face_px: float = Field(
        0.0,
        ge=0,
        description="Detections whose longer side is smaller than this are left alone: a "
        "choice to publish small faces untreated. 0 treats all.",
    )
    merge_iou: float = Field(
        0.4,
        gt=0,
        le=1,
        description="Boxes of different detectors or tiles that overlap at least this much are one face.",
    )
    max_side_px: int | None = Field(
        None,
        ge=64,
        description="Longest side of a picture as the detectors see it: larger ones are searched scaled down to it, at a "
        "fraction of the cost, and what is too small there is missed. `scale` and `tile` count from there. null: as they are.",
    )
    tile: TileConfig = Field(default_factory=TileConfig, description="Windows for large pictures.")
    second_look: bool = Field(
        True,
        description="Looks again at each small face that was found, alone and enlarged: better boxes, landmarks and scores for a "
        "millisecond or two a face.",
    )
    batch_size: int = Field(8, ge=1, le=1024, description="Pictures handed to the detector at once.")
    backend: Literal["auto", "onnxruntime", "openvino", "torch"] = Field(
        "auto",
        description="What runs the networks. `auto`: torch when `engine.num_gpus` is above 0, else onnxruntime. "
        "`openvino` needs the extra of that name.",
    )
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto",
        description="Numbers of CenterFace's network. `int8`: 8-bit integers, half the time, on onnxruntime alone; `auto`: int8 "
        "on onnxruntime, else fp32.",
    )

    @field_validator("detectors", mode="before")
    @classmethod
    def _names_to_mappings(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Sequence):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value
