"""See the package."""

from __future__ import annotations

import argparse
import hashlib
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import yaml

from tools.recognisers.dlib_resnet import TEMPLATE, convert_resnet
from tools.recognisers.tfjs import convert_mobilenet


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A recogniser in a package.

    Args:
        files: paths in the archive -> sha256.
        convert: bytes of the files in this order -> network.
        declaration: what the network expects, and where it comes from.
    """

    files: Mapping[str, str]
    convert: Callable[..., onnx.ModelProto]
    declaration: Mapping[str, Any]


RECOGNISERS = {
    "faceres": Recogniser(
        {
            "package/models/faceres.json": "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
            "package/models/faceres.bin": "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
        },
        convert_mobilenet,
        {
            "size": 224,
            "order": "bgr",
            "mean": [103.939, 116.779, 123.68],
            "scale": 1,
            "licence": "MIT (package); none stated upstream",
            "trained_on": "not stated",
        },
    ),
    "dlib": Recogniser(
        {
            "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat": (
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
            )
        },
        convert_resnet,
        {
            "size": 150,
            "order": "rgb",
            "mean": [122.782, 117.001, 104.298],
            "scale": 256,
            "template": [list(point) for point in TEMPLATE],
            "licence": "CC0-1.0",
            "trained_on": "VGG Face, FaceScrub and scraped images, about 3 million faces",
        },
    ),
}


def read_files(archive: Path, recogniser: Recogniser) -> list[bytes]:
    """Return the contents of the recogniser's files in an archive (.tgz).

    Raises:
        SystemExit: one is missing or has another digest.
    """
    contents = []
    with tarfile.open(archive) as opened:
        for name, digest in recogniser.files.items():
            try:
                member = opened.extractfile(name)
            except KeyError:
                member = None
            if member is None:
                raise SystemExit(f"{archive}: contains no {name}; is it another version of the package?")
            data = member.read()
            found = hashlib.sha256(data).hexdigest()
            if found != digest:
                raise SystemExit(f"{archive}, {name}: sha256 is {found}, expected {digest}")
            contents.append(data)
    return contents


def write(name: str, archive: Path, folder: Path) -> Path:
    """Convert a recogniser and return the address of its declaration."""
    recogniser = RECOGNISERS[name]
    network = recogniser.convert(*read_files(archive, recogniser))
    onnx.checker.check_model(network)
    data = network.SerializeToString(deterministic=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(data)
    declaration = {"path": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest(), **recogniser.declaration}
    address = folder / f"{name}.yaml"
    address.write_text(yaml.safe_dump(declaration, sort_keys=False, width=120))
    return address


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tools.recognisers", description=__doc__)
    parser.add_argument("name", choices=sorted(RECOGNISERS))
    parser.add_argument("archive", type=Path, help="the package's file, .tgz or .tar.gz")
    parser.add_argument("folder", type=Path, help="where NAME.onnx and NAME.yaml go")
    given = parser.parse_args()
    print(write(given.name, given.archive, given.folder))


if __name__ == "__main__":
    main()
