"""Keys of `detect`: what to find in the images, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from anon_batch.config.section import Section


class DetectorConfig(Section):
    """One detector of the ensemble."""

    name: str = Field(
        description="Name of a detector: `centerface`, `yunet`, `yunet_n`, `mtcnn`, `mediapipe`, `ssd`, `retinaface`, "
        "`dlib_hog`, `dlib_mmod`, `licence_plate`, `person`, `text`, `rekognition`, `google_vision`, `manifest` "
        "or one of a plug-in."
    )
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
    refine: bool | None = Field(
        None, description="Whether its small faces are refined; null takes `detect.refine_small`."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="The detector's own options, which it checks itself.",
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


# What a preset sets, unless the job names the key itself. Measured in docs/results/detectors.md.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"detectors": ["centerface"], "refine_small": False, "rotated": False, "coarse_to_fine": True},
    "balanced": {"detectors": ["centerface"], "refine_small": True, "rotated": True, "coarse_to_fine": True},
    "recall": {
        "detectors": ["centerface", {"name": "yunet_n", "threshold": 0.22, "refine": False}],
        "refine_small": True,
        "rotated": True,
        "coarse_to_fine": False,
    },
}


class DetectConfig(Section):
    """What to find in the images, and how."""

    preset: Literal["fast", "balanced", "recall"] = Field(
        "balanced",
        description="`fast`: one look; `balanced`: small faces are refined, and images that may be rotated are searched in all "
        "positions; `recall`: with a second detector, `yunet_n`, which must be downloaded, and all of a large image in full "
        "size. Sets `detectors`, `refine_small`, `rotated` and `coarse_to_fine`, unless the job names them itself.",
    )
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
    coarse_to_fine: bool = Field(
        True,
        description="Search an image that is larger than `tile.size_px` downscaled, and in full size only where that may show "
        "a small face. false searches all of it in full size, at several times the cost. For `centerface`; other detectors "
        "search all of it.",
    )
    refine_small: bool = Field(
        True,
        description="Run the network once more on each small face, cropped and enlarged: better boxes, landmarks and scores, and "
        "faces that it was not sure of before, for about 0.3 ms a face, as several share an enlarged window.",
    )
    rotated: bool = Field(
        True,
        description="Search an image in which no face is certain in the three other positions too, because it may be rotated "
        "without a tag that says so.",
    )
    allow_upload: bool = Field(
        False,
        description="Whether originals may leave: without it, `rekognition` and `google_vision`, to which every image is sent, "
        "are refused.",
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

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        preset = data.get("preset", "balanced")
        return {**PRESETS[preset], **data} if isinstance(preset, str) and preset in PRESETS else data

    @field_validator("detectors", mode="before")
    @classmethod
    def _names_to_mappings(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Sequence):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value
