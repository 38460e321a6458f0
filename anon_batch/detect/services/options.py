"""What all services have in common in the job file."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config import DetectConfig
from anon_batch.errors import ConfigError
from anon_batch.formats.services import UsedService
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions


class ServiceOptions(PluginOptions):
    """Options of a service."""

    requests_per_s: float = Field(
        5.0,
        gt=0,
        le=10_000,
        description="Requests a second of the whole job, divided among `engine.workers`; stay below your account's quota.",
    )
    attempts: int = Field(
        5, ge=1, le=20, description="Attempts at a request that the service throttles, fails or does not answer."
    )
    timeout_s: float = Field(20.0, gt=0, le=300, description="Seconds after which a request counts as not answered.")
    side_px: int = Field(
        1920,
        ge=320,
        le=8192,
        description="Longest side of an image as it is sent: larger ones are downscaled, and what is too small there is missed.",
    )


def check_allowed(service: UsedService, detect: DetectConfig) -> None:
    """Check that the job allows originals to leave.

    Raises:
        ConfigError: it does not.
    """
    if not detect.allow_upload:
        raise ConfigError(
            f"detector `{service.name}` sends every original image to {service.title} (region {service.region}). If all who must "
            "agree to that have agreed, set `detect.allow_upload: true`"
        )


def share_of_rate(options: ServiceOptions, runtime: Runtime) -> float:
    """Return the requests a second of one worker.

    Raises:
        ConfigError: the number of workers is not fixed.
    """
    if runtime.workers is None:
        raise ConfigError(
            "a detector that is a service needs `engine.workers`, so that its `requests_per_s` can be divided among them"
        )
    return options.requests_per_s / runtime.workers
