"""Build the bank of donor faces: selected crops of synthetic faces, their traits, and a regression that predicts traits.

    python -m tools.donor_bank --donors FACES NAMES --teach FOLDER ... --output donors.safetensors

FACES and each FOLDER hold crops/ and meta.jsonl as `anon-batch train` reads them. NAMES lists the donors' files, one a
line, selected by eye: faces without glasses, masks, paint or hands. The regression from surroundings to traits is fitted on
the faces of the FOLDERs that are not held out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE
from anon_batch.anonymize.faces.context import describe_surroundings
from anon_batch.anonymize.faces.matte import head_of, matte_of
from anon_batch.config import ModelsConfig
from anon_batch.models.onnx_graph import prepare_image_network
from anon_batch.models.store import ModelStore
from anon_batch.models.torch_network import OnnxModule
from anon_batch.storage import Storage
from anon_batch.train.face_crops import (
    DONOR_SIDE,
    FaceCrop,
    GeneratorView,
    donor_image,
    generator_view,
    is_held_out,
    read_crops,
)

EXPANSION = 1.25  # of the regions whose surroundings are described
FACE = 0.9  # share of the box inside which a face's tone is measured
RIDGE = 300.0
TONE_WEIGHTS = np.array([1.2, 1.5, 1.5])  # of L, a, b; high, because a face that differs from its body stands out
CODES = 16  # principal components of the detector's features
FEATURES = ("474", "532")  # CenterFace's activations at 1/16 and 1/4 of the image's side
JPEG_QUALITY = 90

Array = npt.NDArray[np.float64]


def tone_of(view: GeneratorView) -> Array:
    """Return the mean L, a, b (3,) of the face in a crop, inside the mask's ellipse shrunk about its centre."""
    lab = cv2.cvtColor(view.truth / np.float32(255), cv2.COLOR_RGB2LAB).astype(np.float64)
    shrink = cv2.getRotationMatrix2D((CROP_SIDE / 2, CROP_SIDE / 2), 0, FACE / EXPANSION)
    inside = lab[cv2.warpAffine(view.crop.unknown.astype(np.uint8), shrink, (CROP_SIDE, CROP_SIDE)) > 0]
    return np.asarray(inside.mean(axis=0), np.float64)


class Features:
    """A detector's features of faces: means and maxima over the middle of the crop."""

    def __init__(self) -> None:
        data = ModelStore(Storage(), ModelsConfig()).load("centerface")
        self._network = OnnxModule(prepare_image_network(data), FEATURES)

    @torch.inference_mode()
    def __call__(self, truth: npt.NDArray[np.float32]) -> Array:
        parts = []
        for values in self._network(torch.from_numpy(truth.transpose(2, 0, 1)[None].copy())):
            edge = values.shape[-1] // 4
            middle = values[0, :, edge:-edge, edge:-edge]
            parts += [middle.mean((1, 2)), middle.amax((1, 2))]
        return torch.cat(parts).numpy().astype(np.float64)


def both_ways(faces: Iterable[FaceCrop]) -> Iterable[FaceCrop]:
    """Yield each face and its mirror image."""
    for face in faces:
        yield face
        yield face.mirror()


def describe(faces: Iterable[FaceCrop], features: Features) -> tuple[Array, Array, Array]:
    """Return descriptions (n, 468), tones (n, 3) and features (n, f) of faces and their mirror images."""
    rows = []
    for face in both_ways(faces):
        view = generator_view(face, EXPANSION, "ellipse", CROP_SIDE)
        rows.append((describe_surroundings(view.crop), tone_of(view), features(view.truth)))
    return tuple(np.array(column, np.float64) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def ridge(x: Array, y: Array) -> tuple[Array, Array]:
    """Return weights and intercept of ridge regression on centred x."""
    weight = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    return weight, y.mean(axis=0)


def explained_variance(prediction: Array, truth: Array) -> Array:
    """Return the share of variance that a prediction explains, by column, at least 0."""
    return np.maximum(1 - ((prediction - truth) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0), 0)


def donor(face: FaceCrop) -> tuple[npt.NDArray[np.uint8], Array, Array]:
    """Return a donor's image, and box and landmarks in it."""
    pixels, points, transform = donor_image(face)
    return pixels, face.box * float(transform[0, 0]) + np.tile(transform[:, 2], 2), points


def small_head(pixels: npt.NDArray[np.uint8], box: Array) -> npt.NDArray[np.uint8]:
    """Return the matte of a donor's head at half its side, 0 .. 255."""
    head = head_of(pixels, box, matte_of(pixels, box))
    return np.rint(cv2.resize(head, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)


def main() -> None:
    """Build the bank, write it, and print how much of each trait surroundings explain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--donors", nargs=2, type=Path, required=True, metavar=("FACES", "NAMES"))
    parser.add_argument("--teach", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    features = Features()

    faces = list(read_crops(chosen.teach))
    x, _, raw = describe((face for face in faces if not is_held_out(face.name)), features)
    test_x, _, test_raw = describe((face for face in faces if is_held_out(face.name)), features)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    raw_mean, raw_scale = raw.mean(axis=0), raw.std(axis=0) + 1e-6
    axes = np.linalg.svd((raw - raw_mean) / raw_scale, full_matrices=False)[2][:CODES].T

    def traits_of(feature: Array) -> Array:
        return (feature - raw_mean) / raw_scale @ axes

    weight, bias = ridge((x - mean) / scale, traits_of(raw))
    explained = explained_variance((test_x - mean) / scale @ weight + bias, traits_of(test_raw))
    print("variance of the traits that surroundings explain, on held-out faces:", explained.round(2))
    # Weigh each trait by how well it is predicted: the signal of its prediction over the error.
    importance = np.sqrt(explained / np.maximum(1 - explained, 0.1)) / traits_of(raw).std(axis=0)
    # Take unscaled descriptions, and scale traits so that distances weigh each by its importance.
    weight = weight / scale[:, None] * importance
    bias = bias * importance - mean @ weight

    names = set(chosen.donors[1].read_text("utf-8").split())
    donors = [face for face in read_crops([chosen.donors[0]]) if face.name in names]
    if len(donors) != len(names) or any(is_held_out(face.name) for face in donors):
        parser.error(f"{len(donors)} of {len(names)} names found in {chosen.donors[0]}, none of which may be held out")
    _, donor_tones, donor_raw = describe(donors, features)
    tone_scale = TONE_WEIGHTS / donor_tones.std(axis=0)
    images = [donor(face) for face in donors]
    jpegs = [
        cv2.imencode(".jpg", p[0][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].ravel() for p in images
    ]
    mirrored_box = [(box, np.array([DONOR_SIDE - box[2], box[1], DONOR_SIDE - box[0], box[3]])) for _, box, _ in images]
    points = [(own, landmarks.mirror(own, DONOR_SIDE)) for _, _, own in images]
    heads = [small_head(pixels, box) for pixels, box, _ in images]
    save_file(
        {
            "heads": np.array(heads),
            "jpeg": np.concatenate(jpegs),
            "jpeg_end": np.cumsum([len(j) for j in jpegs], dtype=np.int64),
            "landmarks": np.array(points, np.float32).reshape(-1, 5, 2),
            "boxes": np.array(mirrored_box, np.float32).reshape(-1, 4),
            "traits": np.concatenate([donor_tones * tone_scale, traits_of(donor_raw) * importance], axis=1).astype(
                np.float32
            ),
            "tone_scale": tone_scale.astype(np.float32),
            "weight": weight.astype(np.float32),
            "bias": bias.astype(np.float32),
        },
        chosen.output,
    )
    print(f"{len(donors)} donors, {chosen.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
