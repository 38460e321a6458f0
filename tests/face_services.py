"""Stand-ins for Amazon Rekognition and Google Cloud Vision on this machine, in their wire formats.

They find what CenterFace finds, or answer as a test says.
"""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
from dataclasses import dataclass, field

import cv2
import numpy as np

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage

SECRET = "wJalrXUtnFEMIsecretsecretEXAMPLEKEY"
AWS_MARKS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
GOOGLE_MARKS = ("LEFT_EYE", "RIGHT_EYE", "NOSE_TIP", "MOUTH_LEFT", "MOUTH_RIGHT")


@functools.cache
def _centerface():
    config = DetectConfig(detectors=[{"name": "centerface", "threshold": 0.3}], rotated=False)
    return build_detector(config, Runtime(ModelStore(Storage(), ModelsConfig())))


def find(data):
    """Return width and height of a JPEG, and what CenterFace finds in it."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    height, width = pixels.shape[:2]
    [found] = _centerface().detect([Preview("sent", np.ascontiguousarray(pixels[:, :, ::-1]))])
    return width, height, found


def aws_face(box, score=99.0, marks=None):
    """Return a FaceDetail; box and marks are shares of the image."""
    x1, y1, x2, y2 = (float(own) for own in box)
    face = {"BoundingBox": {"Left": x1, "Top": y1, "Width": x2 - x1, "Height": y2 - y1}, "Confidence": float(score)}
    if marks is not None:
        face["Landmarks"] = [
            {"Type": name, "X": float(x), "Y": float(y)} for name, (x, y) in zip(AWS_MARKS, marks, strict=True)
        ]
    return face


def google_face(box, score=0.99, marks=None):
    """Return a FaceAnnotation; box and marks in px. As in proto3, a coordinate of 0 is left out."""
    x1, y1, x2, y2 = (round(float(own)) for own in box)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    vertices = [{axis: value for axis, value in zip("xy", corner, strict=True) if value} for corner in corners]
    face = {"boundingPoly": {"vertices": vertices}, "detectionConfidence": float(score)}
    if marks is not None:
        face["landmarks"] = [
            {"type": name, "position": {"x": float(x), "y": float(y), "z": 0.1}}
            for name, (x, y) in zip(GOOGLE_MARKS, marks, strict=True)
        ]
    return face


def find_for_aws(data):
    width, height, found = find(data)
    size = np.float32([width, height])
    faces = zip(found.boxes / np.tile(size, 2), found.scores * 100, found.landmarks / size, strict=True)
    return {"FaceDetails": [aws_face(*own) for own in faces]}


def find_for_google(data):
    _, _, found = find(data)
    faces = [google_face(*own) for own in zip(found.boxes, found.scores, found.landmarks, strict=True)]
    return {"responses": [{"faceAnnotations": faces} if faces else {}]}


@dataclass
class Stub:
    """A service on this machine.

    Args:
        answer: sent JPEG -> JSON, or (status, JSON or bytes).
        images: JPEGs that were sent.
        headers: of the requests.
    """

    answer: object
    images: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    address: str = ""

    @property
    def calls(self):
        """JPEGs after the first, which a detector sends to see that the service answers."""
        return self.images[1:]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        stub = self.server.stub
        if self.path == "/token":
            return self._send(200, {"access_token": SECRET, "expires_in": 3600, "token_type": "Bearer"})
        said = json.loads(body)
        content = said["Image"]["Bytes"] if "Image" in said else said["requests"][0]["image"]["content"]
        stub.headers.append(dict(self.headers))
        stub.images.append(base64.b64decode(content))
        answer = stub.answer(stub.images[-1])
        if answer is None:  # hang up
            self.close_connection = True
            return None
        return self._send(*(answer if isinstance(answer, tuple) else (200, answer)))

    def _send(self, status, answer):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Services:
    """Starts stubs and points the environment at them.

    Args:
        patch: a `pytest.MonkeyPatch`.
        folder: for the file with Google's credentials.
    """

    def __init__(self, patch, folder):
        self._patch, self._folder, self._servers = patch, folder, []

    def start(self, name, answer=None):
        """Start a service. `answer`: see Stub; by default it finds what CenterFace finds."""
        stub = Stub(answer or (find_for_aws if name == "rekognition" else find_for_google))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.stub = stub
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._servers.append(server)
        stub.address = f"http://127.0.0.1:{server.server_port}"
        for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            self._patch.delenv(key, raising=False)
        if name == "rekognition":
            self._patch.setenv("AWS_ENDPOINT_URL_REKOGNITION", stub.address)
            self.aws_credentials()
        else:
            self._patch.setenv("ANON_BATCH_GOOGLE_VISION_ENDPOINT", stub.address)
            self.google_credentials(stub.address)
        return stub

    def aws_credentials(self):
        self._patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        self._patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        self._patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        self._patch.delenv("AWS_PROFILE", raising=False)
        for key in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            self._patch.setenv(key, str(self._folder / "none"))

    def google_credentials(self, address):
        path = self._folder / "account.json"
        path.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": "tester@example.iam.gserviceaccount.com",
                    "token_uri": f"{address}/token",
                    "private_key": _private_key(),
                    "private_key_id": "1",
                    "project_id": "example",
                }
            )
        )
        self._patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    def stop(self):
        for server in self._servers:
            server.shutdown()
            server.server_close()


@functools.cache
def _private_key():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()
