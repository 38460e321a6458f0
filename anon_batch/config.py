"""The job file: every key with its description, default and check.

A key that exists nowhere else in the package. `JobConfig` is what the rest of the package sees; `load_job` reads YAML and
applies `--set` overrides; errors name the key, its value and the nearest legal name.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from anon_batch.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_defaults(cls, value: Any) -> Any:
        return {} if value is None else value  # a section of which all keys are commented out


class DetectorConfig(_Section):
    """One detector of the ensemble."""

    name: str = Field(description="Name of a detector: `centerface`, `yunet`, `manifest` or one of a plug-in.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score that counts as a face; null takes the detector's own default."
    )
    scale: float | None = Field(
        None, gt=0, le=8, description="Resize factor before this detector; null takes `detect.scale`."
    )


class TileConfig(_Section):
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


class DetectConfig(_Section):
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


class AnonymizeConfig(_Section):
    """What is done to each face."""

    method: str = Field("gan", description="`gan`, `swap`, `pixelate`, `blur`, `inpaint`, `solid`, or one of a plug-in.")
    fallback: tuple[str, ...] | None = Field(
        None,
        description="Methods tried in turn for a face that `method` refuses or fails on; after the last one the picture is "
        "withheld. null: `pixelate`, `solid`, and for `gan` before them `swap`.",
    )
    expansion: float = Field(
        1.3, ge=1, le=4, description="The box grows by this factor about its centre before it is treated."
    )
    shape: Literal["ellipse", "rectangle"] = Field(
        "ellipse", description="`ellipse` inscribed in the expanded box, or the whole `rectangle`."
    )
    soft_edge: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Width of the blend around the mask, as a share of the region's "
        "longer side; it lies outside the mask, where treated pixels fade into the picture.",
    )
    min_replaced_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="`swap` and `gan` leave faces that were detected with a lower score to the next method. They paint doubtful "
        "small ones faintly as it is.",
    )
    min_generated_px: float = Field(
        8,
        ge=0,
        description="`gan` leaves faces whose expanded box's longer side is smaller than this to the next method.",
    )
    color: tuple[int, int, int] = Field((0, 0, 0), description="RGB of `solid`.")
    cells: int = Field(8, ge=2, le=64, description="`pixelate` paints this many cells across the region's longer side.")
    blur_sigma: float = Field(
        0.2,
        ge=0.1,
        le=2,
        description="`blur`: sigma of the Gaussian as a share of the region's longest side; at least 0.1.",
    )

    @field_validator("color")
    @classmethod
    def _color_in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(not 0 <= channel <= 255 for channel in value):
            raise ValueError(f"{list(value)}: each of the three channels is 0 to 255")
        return value

    @field_validator("fallback", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def ladder(self) -> tuple[str, ...]:
        """Methods in the order in which a face tries them, each once."""
        fallback = self.fallback
        if fallback is None:
            fallback = ("swap", "pixelate", "solid") if self.method == "gan" else ("pixelate", "solid")
        return tuple(dict.fromkeys((self.method, *fallback)))


class WriteConfig(_Section):
    """How outputs are stored."""

    layout: Literal["files", "webdataset", "parquet"] = Field(
        "files",
        description="`files`: one object a picture; `webdataset`: a tar a shard; `parquet`: a Parquet file with an "
        "`image` struct a shard.",
    )
    format: Literal["keep", "jpeg", "png", "webp"] = Field(
        "keep", description="`keep` writes each picture in its own format; else the format of all outputs."
    )
    quality: Literal["keep"] | int = Field(
        "keep",
        description="`keep` re-uses a JPEG's own quantisation tables and sampling (92 where there are none); 1 to 100 "
        "sets it.",
    )

    @field_validator("quality")
    @classmethod
    def _quality_range(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError(f"{value}: `keep`, or 1 to 100")
        return value


class LimitsConfig(_Section):
    """What is refused before it is decoded."""

    max_pixels: int = Field(
        200_000_000, ge=1, description="Pictures with more pixels end as `failed(too_many_pixels)`."
    )
    max_bytes: int = Field(256 * 2**20, ge=1, description="Sources with more bytes end as `failed(too_many_bytes)`.")


class EngineConfig(_Section):
    """Where and how wide the job runs. Nothing here but `shard_rows` changes the release, and `num_gpus` single levels of what
    networks paint.
    """

    address: str | None = Field(
        None, description="Ray cluster to join: `auto`, `ray://HOST:10001`, `HOST:6379`; null starts Ray here."
    )
    workers: int | None = Field(None, ge=1, description="Actors. null: as many as the cluster has room for.")
    shard_rows: int = Field(512, ge=1, le=65_536, description="Rows of a shard, the unit of work and of commit.")
    attempts: int = Field(
        3,
        ge=1,
        le=20,
        description="Times a shard is begun before it is split, and a single row before it ends as `failed(poison)`.",
    )
    num_cpus: float = Field(
        1.0,
        gt=0,
        description="CPUs that an actor reserves; also the threads of its networks. Without a GPU all but one of them decode and "
        "encode; with 1 the thread that drives the networks does.",
    )
    num_gpus: float = Field(0.0, ge=0, description="GPUs that an actor reserves; above 0 the networks run on CUDA.")
    memory_bytes: int | None = Field(None, ge=1, description="Memory that an actor reserves; null reserves none.")
    io_threads: int = Field(
        8, ge=1, le=256, description="Threads of an actor that read and put; with a GPU also decode and encode."
    )
    read_ahead: int = Field(
        16,
        ge=1,
        le=4096,
        description="Pictures that an actor holds at most between reading and putting, "
        "batches being detected not counted.",
    )
    row_timeout_s: float = Field(
        600,
        gt=0,
        description="An actor that makes no progress for this long ends its process, so "
        "that the shard is tried again elsewhere.",
    )


class ModelsConfig(_Section):
    """Where weights come from."""

    mirror: str | None = Field(
        None,
        description="A fsspec prefix that holds the registry's files by name; asked before the "
        "public address. The variable ANON_BATCH_MODEL_MIRROR does the same.",
    )
    cache: str | None = Field(None, description="Folder for fetched weights; null: ~/.cache/anon-batch.")
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Own files in place of the registry's, address by model, e.g. `generator:` one that `anon-batch train` made. "
        "Their digests go into fingerprint and provenance.",
    )


class StorageConfig(_Section):
    """How bytes are reached."""

    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="fsspec options by address prefix, e.g. `s3://bucket/: {endpoint_url: ..., key: "
        "..., secret: ...}`; the longest matching prefix counts. AWS_* variables need no entry here.",
    )
    sse: str | None = Field(
        None, description="Server-side encryption of every object written to S3: `AES256` or `aws:kms`."
    )
    sse_kms_key_id: str | None = Field(None, description="Key of `aws:kms`; null: the bucket's default.")
    retries: int = Field(
        5, ge=0, le=20, description="Further tries of a storage call that failed for a passing reason."
    )
    retry_wait_s: float = Field(
        0.5, ge=0, le=60, description="First pause between tries; doubles, with jitter, up to 20 s."
    )

    @model_validator(mode="after")
    def _kms_needs_sse(self) -> StorageConfig:
        if self.sse not in (None, "AES256", "aws:kms"):
            raise ValueError(f"sse {self.sse!r}: AES256 or aws:kms")
        if self.sse_kms_key_id and self.sse != "aws:kms":
            raise ValueError("sse_kms_key_id needs sse: aws:kms")
        return self


class SampleConfig(_Section):
    """A seeded sample of the rows, as a release of its own."""

    limit: int | None = Field(
        None,
        ge=1,
        description="Number of rows; null takes all. The output's and ledger's names get `-sample-N` appended.",
    )
    seed: int = Field(0, ge=0, description="Which sample.")


class JobConfig(_Section):
    """A whole job."""

    name: str = Field("release", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Name of the release.")
    manifest: str = Field(description="Address of the manifest, Parquet.")
    output: str = Field(description="Address of the release: a folder or a bucket prefix.")
    ledger: str | None = Field(
        None, description="Address of the private ledger; null: `OUTPUT-ledger` beside the output."
    )
    run_key_file: str | None = Field(
        None, description="A file with at least 32 secret bytes; null: made once, kept in the ledger."
    )
    sample: SampleConfig = Field(default_factory=SampleConfig, description="A sample instead of everything.")
    detect: DetectConfig = Field(default_factory=DetectConfig, description="Finding the faces.")
    anonymize: AnonymizeConfig = Field(default_factory=AnonymizeConfig, description="Treating them.")
    write: WriteConfig = Field(default_factory=WriteConfig, description="Storing the outputs.")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="What is refused.")
    engine: EngineConfig = Field(default_factory=EngineConfig, description="Where it runs.")
    models: ModelsConfig = Field(default_factory=ModelsConfig, description="Where weights come from.")
    storage: StorageConfig = Field(default_factory=StorageConfig, description="How bytes are reached.")

    @field_validator("manifest", "output", "ledger")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip().strip("/"):
            raise ValueError("must not be empty, nor the root")
        return value

    @property
    def output_uri(self) -> str:
        """OUTPUT without trailing slash, with the sample's suffix."""
        return self.output.rstrip("/") + self._sample_suffix

    @property
    def ledger_uri(self) -> str:
        """LEDGER without trailing slash, with the sample's suffix; by default a sibling of OUTPUT."""
        if self.ledger is None:
            return f"{self.output_uri}-ledger"
        return self.ledger.rstrip("/") + self._sample_suffix

    @property
    def _sample_suffix(self) -> str:
        return "" if self.sample.limit is None else f"-sample-{self.sample.limit}"


_Model = TypeVar("_Model", bound=BaseModel)


def load_job(path: str | Path | None, overrides: Mapping[str, Any]) -> JobConfig:
    """Reads a job file and lays overrides over it.

    Args:
        path: YAML file, or None to start from the defaults.
        overrides: dotted key -> value, e.g. {"engine.shard_rows": 64}; they win.

    Raises:
        ConfigError: unreadable file, unknown key (names the nearest one), or a value out of range.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = _read_yaml(Path(path))
    for key, value in overrides.items():
        _assign(data, key, value)
    return validate(JobConfig, data, str(path) if path else "flags")


def validate(model: type[_Model], data: Mapping[str, Any], origin: str) -> _Model:
    """Checks `data` against `model`; every fault becomes one line of a ConfigError."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        lines = [_explain(model, error) for error in exc.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `key=value` of `--set`; the value is read as YAML, so numbers, lists and null work.

    Raises:
        ConfigError: no `=`, an empty key, or a value that is no YAML.
    """
    key, sep, value = text.partition("=")
    if not sep or not key.strip():
        shown = repr(text) if not sep else "=..."
        raise ConfigError(f"--set {shown}: expected key=value, e.g. --set engine.shard_rows=64")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as exc:
        raise ConfigError(f"--set {key.strip()}: the value is not YAML: {_yaml_fault(exc)}") from None


def describe(model: type[BaseModel] = JobConfig, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yields (dotted key, type, default, description) of every key, in the order of the file."""
    for name, info in model.model_fields.items():
        section = _section_of(info.annotation)
        if section is not None and not _is_sequence(info.annotation):
            yield from describe(section, f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else _default_text(info.get_default(call_default_factory=True))
        yield f"{prefix}{name}", _type_text(info.annotation), default, info.description or ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"job file {path}: {exc.strerror or exc}") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"job file {path} is not YAML: {_yaml_fault(exc)}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise ConfigError(f"job file {path} is not YAML: {type(exc).__name__}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"job file {path}: expected keys and values at the top, found {type(data).__name__}")
    return data


def _yaml_fault(exc: yaml.YAMLError) -> str:
    """What and where, without the line itself: it may hold a secret."""
    mark = getattr(exc, "problem_mark", None)
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(exc, 'problem', None) or type(exc).__name__}{where}"


def _assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    for parent in parents:
        if (child := data.get(parent)) is None:
            child = data[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{dotted}: {parent} is a value, not a section")
        data = child
    data[leaf] = value


def _explain(model: type[BaseModel], error: Any) -> str:
    loc = error["loc"]
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        return f"unknown key `{key}`{_nearest(model, key)}"
    if error["type"] == "missing":
        return f"`{key}` is required"
    text = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    if loc[:2] == ("storage", "options") or not isinstance(given, (str, int, float, type(None))):
        return f"`{key}`: {text}"  # what is given may hold secrets
    return f"`{key}`: {text} (given: {json.dumps(given)[:80]})"


def _nearest(model: type[BaseModel], key: str) -> str:
    known = [k for k, *_ in describe(model)]
    sections = sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
    if match := difflib.get_close_matches(key, known + sections, n=1, cutoff=0.6):
        return f"; did you mean `{match[0]}`?"
    leaf = key.rsplit(".", 1)[-1]
    by_leaf = {k.rsplit(".", 1)[-1]: k for k in known}
    if match := difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6):
        return f"; did you mean `{by_leaf[match[0]]}`?"
    return ""


def _section_of(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *typing.get_args(annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _is_sequence(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (tuple, list)


def _default_text(value: Any) -> str:
    if isinstance(value, tuple):
        value = [v.name if isinstance(v, DetectorConfig) else v for v in value]
    return json.dumps(value)


def _type_text(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(a) for a in args)
    if origin in (tuple, list):
        return f"list of {_type_text(args[0])}"
    if origin is dict:
        return "mapping"
    names = {str: "text", int: "whole number", float: "number", type(None): "null", bool: "true/false"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "name or mapping"
    return names.get(annotation, str(annotation))
