"""Amazon Rekognition, `DetectFaces` (API of 2016-06-27), by boto3, which finds credentials by its own chain.

It takes files of at most 5 MB with sides of at least 80 px, finds faces of at least 40 px in an image of 1920 x 1080 px, in
proportion in larger ones, and gives the 100 largest faces of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from pydantic import BaseModel, Field

from anon_batch.detect.own_model import takes
from anon_batch.detect.protocol import Detector, DetectorSettings, RealArray
from anon_batch.detect.services.answers import (
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

NAME, API_VERSION = "rekognition", "2016-06-27"
MOST_FACES = 100
DEFAULT_THRESHOLD = 0.15
_MIN_SIDE_PX, _MAX_BYTES = 80, 5_000_000
_LANDMARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
_KINDS: Mapping[str, Kind] = {
    "ThrottlingException": "throttled",
    "ProvisionedThroughputExceededException": "throttled",
    "InternalServerError": "away",
    "ServiceUnavailableException": "away",
    "AccessDeniedException": "credentials",
    "ExpiredTokenException": "credentials",
    "UnrecognizedClientException": "credentials",
    "InvalidSignatureException": "credentials",
    "IncompleteSignatureException": "credentials",
    "MissingAuthenticationTokenException": "credentials",
    "OptInRequired": "credentials",
}


class RekognitionOptions(ServiceOptions):
    """Options of `rekognition`."""

    region: str = Field(
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        description="Region whose computers see the images, for example `eu-west-1`.",
    )
    price_per_1000: float = Field(
        1.0,
        ge=0,
        description="Price of 1,000 images in US dollars, for `estimate`; the default is the list price of the first tier in "
        "2025: set yours.",
    )


class Rekognition:
    """The client. See `Client`.

    Args:
        options: region and time limit.

    Raises:
        ConfigError: boto3 or credentials are missing, or the address is not encrypted.
    """

    def __init__(self, options: RekognitionOptions) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise ConfigError(
                f"detector `{NAME}` needs boto3; install it with `pip install 'anon-batch[rekognition]'`"
            ) from None
        config = Config(
            region_name=options.region,
            connect_timeout=min(10.0, options.timeout_s),
            read_timeout=options.timeout_s,
            retries={"total_max_attempts": 1},
            user_agent_extra="anon-batch",
        )
        try:
            session = boto3.Session()
            found = session.get_credentials()
            self._client = session.client("rekognition", config=config, api_version=API_VERSION)
        except BotoCoreError as exc:
            raise ConfigError(f"detector `{NAME}`: boto3 cannot be set up ({type(exc).__name__})") from None
        if found is None:
            raise ConfigError(
                f"detector `{NAME}`: boto3 finds no credentials; set them up as for the AWS command line (environment, profile, "
                "role), on every machine with workers, never in the job"
            )
        self.endpoint = str(self._client.meta.endpoint_url)
        if not is_safe_address(self.endpoint):
            raise ConfigError(
                f"detector `{NAME}`: its address does not begin with https://, and originals would be sent to it"
            )

    def find_faces(self, image: SentImage) -> Faces:
        """See Client.find_faces."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.detect_faces(Image={"Bytes": image.data})
        except ClientError as exc:
            raise _fault_of(exc.response) from None
        except BotoCoreError as exc:
            raise Fault(_kind_of(type(exc).__name__), type(exc).__name__) from None
        except Exception as exc:  # because botocore's parser raises whatever it meets in a wrong answer
            raise Fault("malformed", type(exc).__name__) from None
        found = listed(answer.get("FaceDetails"), "FaceDetails")
        return faces_of((_face(own, image) for own in found), is_full=len(found) >= MOST_FACES)


def _fault_of(response: Mapping[str, Any]) -> Fault:
    code = str(response.get("Error", {}).get("Code", "?"))[:60]
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    known = _KINDS.get(code)
    if known is None:
        known = (
            "throttled"
            if status == 429
            else "away"
            if status >= 500
            else "credentials"
            if status in (401, 403)
            else "refused"
        )
    shown = "".join(letter for letter in code if letter.isalnum() or letter in "._-")
    return Fault(known, f"{shown}, HTTP {status}")


def _kind_of(error: str) -> Kind:
    if error in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"):
        return "credentials"
    return "malformed" if error == "ResponseParserError" else "away"


def _face(face: Mapping[str, Any], image: SentImage) -> tuple[RealArray, float, RealArray]:
    box = mapping(face.get("BoundingBox"), "BoundingBox")
    left, top, width, height = (number(box.get(key), key) for key in ("Left", "Top", "Width", "Height"))
    points = dict(_points(face, image))
    shares = np.asarray([left, top, left + width, top + height])
    corners = shares * np.asarray([image.width, image.height] * 2)
    return corners, number(face.get("Confidence"), "Confidence") / 100, five_points(points, _LANDMARKS)


def _points(face: Mapping[str, Any], image: SentImage) -> Iterator[tuple[str, tuple[float, float]]]:
    for mark in listed(face.get("Landmarks", []), "Landmarks"):
        if mark.get("Type") in _LANDMARKS:
            yield mark["Type"], (number(mark.get("X"), "X") * image.width, number(mark.get("Y"), "Y") * image.height)


@takes(RekognitionOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. Makes one request, of a grey image, to see that the service answers."""
    own = cast(RekognitionOptions, options)
    service = UsedService(NAME, own.region, API_VERSION)
    check_allowed(service, settings.detect)
    rate = share_of_rate(own, runtime)
    client = Rekognition(own)
    return ServiceDetector(
        service,
        Calls(client, RateLimit(rate), own.attempts),
        client.endpoint,
        Limits(own.side_px, _MIN_SIDE_PX, _MAX_BYTES),
        settings.threshold(DEFAULT_THRESHOLD),
        settings.detect,
    )
