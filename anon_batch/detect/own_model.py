"""A network of the user's own: a file of a known family, in place of the registry's.

The job names the file under `models.files` and the detector by that name, because `detect` is published and an address is not:

    detect:
      detectors: [{name: retinaface, options: {model: mine, sha256: bd02..., licence: MIT, trained_on: WIDER FACE}}]
    models:
      files: {mine: s3://bucket/retinaface.onnx}
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field, field_validator

from anon_batch.config.section import Section
from anon_batch.detect.protocol import DetectorFactory, DetectorSettings
from anon_batch.errors import ConfigError
from anon_batch.models.backends import choose_backend
from anon_batch.models.network import Backend
from anon_batch.models.registry import MODELS
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions


class ModelOptions(PluginOptions):
    """Options of detectors that take a file of the user's own."""

    model: str | None = Field(
        None,
        max_length=64,
        description="Name of the network's file in `models.files`; null: the detector's own name.",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of that file, checked whenever it is loaded. Needed unless the file lies on this machine.",
    )
    licence: str | None = Field(
        None, max_length=200, description="Licence of that file, for licences.json and the card; null: not stated."
    )
    trained_on: str | None = Field(
        None, max_length=500, description="What it was trained on, for the same files; null: not stated."
    )

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and (not value.replace("-", "_").replace(".", "_").isidentifier() or not value.isascii()):
            raise ValueError(
                "expected a name of letters, digits, `-`, `_` and `.`: this key is published, so name the address under it in "
                "`models.files`"
            )
        return value


class InputOptions(Section):
    """How a network of the user's own takes its image."""

    order: str | None = Field(
        None, pattern="^(rgb|bgr)$", description="Order of its channels, `rgb` or `bgr`; null: the family's."
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted from the channels 0..255, in that order; null: the family's."
    )
    scale: float | None = Field(None, gt=0, description="Then multiplied with; null: the family's.")


def takes(options: type[PluginOptions]) -> Callable[[DetectorFactory], DetectorFactory]:
    """Return a decorator that says which options a factory takes."""

    def mark(factory: DetectorFactory) -> DetectorFactory:
        factory.Options = options  # type: ignore[attr-defined]
        return factory

    return mark


def is_own(name: str, options: ModelOptions, runtime: Runtime) -> bool:
    """Return whether a detector runs a file of the user's own instead of the one in the registry called `name`."""
    return options.model is not None or runtime.store.address_of(name) is not None or name not in MODELS


def load_network(name: str, options: ModelOptions, runtime: Runtime) -> tuple[str, bytes]:
    """Return a network's identity, for `Detector.models`, and its file: the user's own or the registry's.

    Args:
        name: of the detector and, if there is one, of its model in the registry.
        options: of the detector.
        runtime: where files come from.

    Raises:
        ConfigError: no file is named, or it lies elsewhere and has no digest in the job.
        ModelError: it cannot be read or has another digest.
    """
    key = f"detect.detectors.{name}.options"
    if not is_own(name, options, runtime):
        if options.sha256 not in (None, MODELS[name].sha256):
            raise ConfigError(
                f"{key}.sha256: `{name}` comes with its own digest; name a file of yours in `models.files`"
            )
        return name, runtime.store.load(name)
    own = options.model or name
    if runtime.store.address_of(own) is None:
        raise ConfigError(
            f"detector `{name}` needs an ONNX file: name its address in `models.files.{own}`"
            + ("" if options.model else f", or another name of `models.files` in {key}.model")
        )
    if options.sha256 is None and not runtime.store.is_local_file(own):
        raise ConfigError(
            f"{key}.sha256 is missing: `models.files.{own}` lies on another machine, where it may change; give the "
            "sha256 of the file that you mean"
        )
    data, digest = runtime.store.load_own(own, options.sha256)
    return f"{own}@{digest}", data


def own_backend(configured: str, device: str) -> tuple[Backend, str]:
    """Return backend and device of a user's file: on the CPU unless the job names torch, which lacks many operators."""
    if configured in ("auto", "onnxruntime"):
        return "onnxruntime", "cpu"
    if configured == "openvino":
        return "openvino", "cpu"
    return choose_backend(configured, device), device


def asked_for(settings: DetectorSettings) -> DetectorSettings:
    """Return settings by which small faces are refined only where the job asks for it of this detector.

    Because a slow network takes several times as long with it, for few faces more.
    """
    config = settings.config.model_copy(update={"refine": bool(settings.config.refine)})
    return DetectorSettings(config, settings.detect)
