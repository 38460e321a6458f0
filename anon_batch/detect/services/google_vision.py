"""Google Cloud Vision, `images:annotate` with FACE_DETECTION (API v1), by REST; google-auth finds credentials by its own chain.

A request takes at most 10 MB of JSON, in which a file grows by a third. An answer has at most as many faces as it was asked for.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import numpy as np
from pydantic import BaseModel, Field

from anon_batch.detect.own_model import takes
from anon_batch.detect.protocol import Detector, DetectorSettings, RealArray
from anon_batch.detect.services.answers import (
    Point,
    faces_of,
    five_points,
    is_safe_address,
    listed,
    mapping,
    number,
)
from anon_batch.detect.services.calls import Calls, Faces, Fault, Kind, RateLimit
from anon_batch.detect.services.detector import ServiceDetector
from anon_batch.detect.services.images import Limits, SentImage
from anon_batch.detect.services.options import ServiceOptions, check_allowed, share_of_rate
from anon_batch.errors import ConfigError
from anon_batch.formats.services import UsedService
from anon_batch.models.runtime import Runtime

NAME, API_VERSION = "google_vision", "v1"
ENDPOINT_VARIABLE = "ANON_BATCH_GOOGLE_VISION_ENDPOINT"
MOST_FACES = 100  # asked for
DEFAULT_THRESHOLD = 0.15
_MIN_SIDE_PX, _MAX_BYTES = 80, 7_000_000
_SCOPE = "https://www.googleapis.com/auth/cloud-vision"
_LANDMARKS = ("LEFT_EYE", "RIGHT_EYE", "NOSE_TIP", "MOUTH_LEFT", "MOUTH_RIGHT")  # left as the viewer sees it
_RIGHT, _BOTTOM = (1, 2), (2, 3)  # vertices of an upright polygon, from the top left clockwise
_STATUSES: Mapping[int, Kind] = {401: "credentials", 403: "credentials", 429: "throttled"}
_CODES: Mapping[int, Kind] = {4: "away", 7: "credentials", 8: "throttled", 13: "away", 14: "away", 16: "credentials"}


class GoogleVisionOptions(ServiceOptions):
    """Options of `google_vision`."""

    region: Literal["global", "eu", "us"] = Field(
        description="Where the images are seen: `eu` and `us` keep them there, `global` does not."
    )
    price_per_1000: float = Field(
        1.5,
        ge=0,
        description="Price of 1,000 images in US dollars, for `estimate`; the default is the list price of the first tier in "
        "2025: set yours.",
    )


class GoogleVision:
    """The client. See `Client`.

    Args:
        options: region and time limit.

    Raises:
        ConfigError: google-auth or credentials are missing, or the address is not encrypted.
    """

    def __init__(self, options: GoogleVisionOptions) -> None:
        try:
            import google.auth
            from google.auth.exceptions import GoogleAuthError
            from google.auth.transport.requests import AuthorizedSession
        except ImportError:
            raise ConfigError(
                f"detector `{NAME}` needs google-auth; install it with `pip install 'anon-batch[google-vision]'`"
            ) from None
        prefix = "" if options.region == "global" else f"{options.region}-"
        self.endpoint = os.environ.get(ENDPOINT_VARIABLE) or f"https://{prefix}vision.googleapis.com"
        if not is_safe_address(self.endpoint):
            raise ConfigError(
                f"{ENDPOINT_VARIABLE} does not begin with https://, and originals would be sent to that address"
            )
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except (GoogleAuthError, OSError, ValueError) as exc:
            raise ConfigError(
                f"detector `{NAME}`: google-auth finds no usable credentials ({type(exc).__name__}); set up Application "
                "Default Credentials (GOOGLE_APPLICATION_CREDENTIALS, a service account) where the workers run, never in the job"
            ) from None
        self._session = AuthorizedSession(credentials, max_refresh_attempts=1, refresh_timeout=options.timeout_s)
        self._timeout_s = options.timeout_s

    def find_faces(self, image: SentImage) -> Faces:
        """See Client.find_faces."""
        from google.auth.exceptions import GoogleAuthError, TransportError
        from requests import RequestException

        content = base64.b64encode(image.data).decode()
        body = {
            "requests": [
                {"image": {"content": content}, "features": [{"type": "FACE_DETECTION", "maxResults": MOST_FACES}]}
            ]
        }
        address = f"{self.endpoint.rstrip('/')}/{API_VERSION}/images:annotate"
        try:
            answer = self._session.post(address, json=body, timeout=self._timeout_s, allow_redirects=False)
        except TransportError as exc:
            raise Fault("away", type(exc).__name__) from None
        except GoogleAuthError as exc:
            raise Fault("credentials", type(exc).__name__) from None
        except (RequestException, OSError) as exc:
            raise Fault("away", type(exc).__name__) from None
        if answer.status_code != 200:
            kind = _STATUSES.get(answer.status_code, "away" if answer.status_code >= 500 else "refused")
            raise Fault(kind, f"HTTP {answer.status_code}")
        try:
            content = answer.json()
        except ValueError:
            raise Fault("malformed", "the answer is no JSON") from None
        return _read(content, image)


def _read(content: Any, image: SentImage) -> Faces:
    responses = listed(mapping(content, "the answer").get("responses"), "responses")
    if len(responses) != 1:
        raise Fault("malformed", f"{len(responses)} responses for 1 image")
    [response] = responses
    if "error" in response:
        code = mapping(response["error"], "error").get("code")
        raise Fault(
            _CODES.get(code, "refused") if isinstance(code, int) else "malformed",
            f"error of the image, code {code!r:.20}",
        )
    found = listed(response.get("faceAnnotations", []), "faceAnnotations")
    return faces_of((_face(own, image) for own in found), is_full=len(found) >= MOST_FACES)


def _face(face: Mapping[str, Any], image: SentImage) -> tuple[RealArray, float, RealArray]:
    """Return a face whose box holds both polygons and the five landmarks, because a polygon may lack coordinates at a border."""
    points = dict(_landmarks(face))
    corners = [*_vertices(face, "boundingPoly", image), *_vertices(face, "fdBoundingPoly", image), *points.values()]
    if "boundingPoly" not in face:
        raise Fault("malformed", "a face without boundingPoly")
    at = np.asarray(corners, np.float64)
    box = np.concatenate([at.min(axis=0), at.max(axis=0)])
    return box, number(face.get("detectionConfidence"), "detectionConfidence"), five_points(points, _LANDMARKS)


def _vertices(face: Mapping[str, Any], key: str, image: SentImage) -> Iterator[Point]:
    """Yield the vertices of a polygon. A coordinate that is left out is 0, or unbounded on the side where its vertex is."""
    if key not in face:
        return
    vertices = listed(mapping(face[key], key).get("vertices"), f"{key}.vertices")
    if len(vertices) < 3:
        raise Fault("malformed", f"{key} of {len(vertices)} vertices")
    for index, vertex in enumerate(vertices):
        x, y = (number(vertex.get(axis, 0), axis) for axis in "xy")
        yield (
            float(image.width) if "x" not in vertex and index in _RIGHT else x,
            float(image.height) if "y" not in vertex and index in _BOTTOM else y,
        )


def _landmarks(face: Mapping[str, Any]) -> Iterator[tuple[str, Point]]:
    for mark in listed(face.get("landmarks", []), "landmarks"):
        if mark.get("type") in _LANDMARKS:
            place = mapping(mark.get("position"), "position")
            yield mark["type"], (number(place.get("x", 0), "x"), number(place.get("y", 0), "y"))


@takes(GoogleVisionOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. Makes one request, of a grey image, to see that the service answers."""
    own = cast(GoogleVisionOptions, options)
    service = UsedService(NAME, own.region, API_VERSION)
    check_allowed(service, settings.detect)
    rate = share_of_rate(own, runtime)
    client = GoogleVision(own)
    return ServiceDetector(
        service,
        Calls(client, RateLimit(rate), own.attempts),
        client.endpoint,
        Limits(own.side_px, _MIN_SIDE_PX, _MAX_BYTES),
        settings.threshold(DEFAULT_THRESHOLD),
        settings.detect,
    )
