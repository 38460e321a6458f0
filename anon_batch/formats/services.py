"""Services that images were sent to, as they stand among the models of a release: `name@region/version`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

TITLES: Mapping[str, tuple[str, str]] = {
    "rekognition": ("Amazon Rekognition (DetectFaces)", "https://rekognition.{}.amazonaws.com/"),
    "google_vision": ("Google Cloud Vision (FACE_DETECTION)", "https://vision.googleapis.com/{}"),
}
RESOURCES = ("attempts", "price_per_1000", "requests_per_s", "timeout_s")  # options that change no output
_DIGEST = re.compile(r"[0-9a-f]{64}")


class UsedService(NamedTuple):
    """A service that searched images.

    Args:
        name: of the detector.
        region: where its computers are.
        version: of its interface.
    """

    name: str
    region: str
    version: str

    @property
    def identity(self) -> str:
        """What stands among the models of a release."""
        return f"{self.name}@{self.region}/{self.version}"

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES[self.name][0]

    @property
    def said(self) -> str:
        """Title, region and version, for readers."""
        return f"{self.title}, region {self.region}, API version {self.version}"

    @property
    def address(self) -> str:
        """An address that names it."""
        return TITLES[self.name][1].format(self.region)


def read_service(model: str) -> UsedService | None:
    """Return the service that an entry of a release's models names; None if it names weights."""
    name, _, identity = model.partition("@")
    region, slash, version = identity.partition("/")
    if name not in TITLES or not slash or _DIGEST.fullmatch(identity):
        return None
    return UsedService(name, region, version)


def used_services(models: Iterable[str]) -> tuple[UsedService, ...]:
    """Return the services among the models of a release, each once."""
    return tuple(dict.fromkeys(own for model in models if (own := read_service(model)) is not None))


def without_resources(settings: Any) -> Any:
    """Return JSON settings without the options of services that only say how fast and how often they are asked.

    Because a service that throttles a run is best asked more slowly by the run that resumes it.
    """
    if isinstance(settings, list):
        return [without_resources(own) for own in settings]
    if not isinstance(settings, dict):
        return settings
    found = {key: without_resources(own) for key, own in settings.items()}
    if found.get("name") in TITLES and isinstance(found.get("options"), dict):
        found["options"] = {key: own for key, own in found["options"].items() if key not in RESOURCES}
    return found
