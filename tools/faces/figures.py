"""The figures that replaced faces are judged by, from the outputs that `produce` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.protocol import Detector
from anon_batch.evaluate import recognition
from anon_batch.evaluate.average_precision import ScorerStats, anonymized_truth
from anon_batch.evaluate.embedder import Embedder, EmbedderSettings, aligned_crop, load_embedder
from anon_batch.evaluate.frechet import FeatureMoments, frechet_distance
from anon_batch.evaluate.identity import IdentityFeatures, measure_identity
from anon_batch.evaluate.probe import ProbeSamples, describe, probe
from anon_batch.evaluate.probe_features import DetectorFeatures, FaceFeatures, NoiseFeatures, crop_around
from anon_batch.evaluate.reidentification import PairFeatures, attack
from anon_batch.evaluate.seam import SeamEnergies
from anon_batch.geometry import clip_detections, pairwise_iou
from anon_batch.records import Detections, FloatArray, GroundTruth, PixelArray, Preview
from anon_batch.storage import Storage
from tools.faces.sets import WITHOUT_MASK, Data, read_pixels
from tools.faces.stored import Outputs
from tools.faces.variants import runtime

BARE_PX = 28  # longer side of the smallest bare street face of the probe
SEAM_SCORE = 0.6
SEAM_OFFSETS = (0.03, 0.06, 0.09)  # lines outside the masks, where a soft edge may show
SAME_FACE_IOU = 0.5

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """The outputs of all variants.

    Args:
        data: the sets.
        folder: of the outputs.
        embedders: addresses of face recognisers.
        every: use one in so many images of the photographs and of the single faces.
    """

    data: Data
    folder: Path
    embedders: tuple[str, ...] = ()
    every: int = 1

    def outputs(self, name: str, own_set: str) -> Outputs:
        """Return a variant's outputs of a set or pass."""
        return Outputs(self.folder / name / own_set)

    def images(self, own_set: str) -> list[Path]:
        """Return the images of a set that are used."""
        images = self.data.images(own_set)
        return images[:: self.every] if own_set in {"photos", "held"} else images


def largest(found: Detections) -> int | None:
    """Return the index of the largest face, if it has landmarks."""
    if not len(found):
        return None
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    index = int(np.argsort(-sides.prod(axis=1), kind="stable")[0])
    return index if np.isfinite(found.landmarks[index]).all() else None


def precision_kept(runs: Runs, name: str) -> Figures:
    """Average precision of a second detector, and of the default one, that is kept: by scorer, seed and band."""
    seeds = ["photos", *(f"photos.seed{seed}" for seed in range(1, 9))]
    passes = [own for own in seeds if runs.outputs(name, own).exists]
    listed = runs.outputs(name, "photos").listing()
    images = [path for path in runs.images("photos") if path.name in listed]
    out: Figures = {}
    for scorer, detector in _scorers().items():
        before = _scores(runs, detector, images, listed, read_pixels)
        kept: dict[str, list[float]] = {}
        for own in passes:
            outputs = runs.outputs(name, own)
            after = _scores(runs, detector, images, listed, outputs.pixels).measures(before)
            for title, bands in (("labelled", after.labelled_faces), ("anonymized", after.anonymized_faces)):
                for band in ("all", "from_16_px"):
                    kept.setdefault(f"{title}, {band}", []).append(bands[band].kept or 0.0)
        out[scorer] = {key: {"mean": float(np.mean(values)), "seeds": values} for key, values in kept.items()}
        for key, values in kept.items():
            shown = ", ".join(f"{value:.1%}" for value in values)
            print(f"{name}: AP kept by {scorer}, {key}: {np.mean(values):.1%} ({shown})", flush=True)
    return out


def _scorers() -> dict[str, Detector]:
    base = DetectConfig()
    second = {"detectors": (DetectorConfig(name="yunet_n", scale=2.0),), "min_side_px": 0.0, "refine_small": False}
    own = runtime()
    default = "+".join(detector.name for detector in base.detectors)
    return {
        "yunet_n": build_detector(base.model_copy(update=second), own),
        f"default ({default})": build_detector(base, own),
    }


def _scores(
    runs: Runs, detector: Detector, images: Sequence[Path], listed: Any, read: Callable[[Path], PixelArray]
) -> ScorerStats:
    labelled, scores = runs.data.labelled(), ScorerStats()
    for path in images:
        faces = labelled.get(path.name)
        if faces is None:
            continue
        pixels = read(path)
        height, width = pixels.shape[:2]
        truth = GroundTruth(np.array([face.box for face in faces], np.float32), np.zeros(len(faces), np.bool_))
        chosen = clip_detections(listed[path.name].detections, width, height)
        found = clip_detections(detector.detect([Preview(path.name, pixels)])[0], width, height)
        scores.add(found, truth, anonymized_truth(chosen, truth))
    return scores


def frechet(runs: Runs, name: str) -> Figures:
    """Frechet distance of held-out faces from the originals, on each embedder's features."""
    outputs, out = runs.outputs(name, "held"), {}
    listed = outputs.listing()
    for embedder in _embedders(runs):
        before, after = FeatureMoments(embedder.dimensions), FeatureMoments(embedder.dimensions)
        for path in runs.images("held"):
            found = listed[path.name].detections if path.name in listed else Detections.empty()
            if (index := largest(found)) is None:
                continue
            for moments, pixels in ((before, read_pixels(path)), (after, outputs.pixels(path))):
                moments.add(embedder.embed([aligned_crop(pixels, found.landmarks[index])]))
        distance = frechet_distance(before, after)
        out[embedder.name] = {"distance": distance, "faces": after.count}
        shown = "too few faces" if distance is None else f"{distance:.3f}"
        print(f"{name}: Frechet distance on {embedder.name}: {shown} ({after.count} faces)", flush=True)
    return out


def seam(runs: Runs, name: str) -> Figures:
    """Gradients across over along the masks' borders, relative to the originals, by set."""
    out: Figures = {}
    for own_set in ("pairs", "photos"):
        outputs, energies = runs.outputs(name, own_set), SeamEnergies()
        outside = {share: SeamEnergies(share) for share in SEAM_OFFSETS}
        listed = outputs.listing()
        for path in runs.images(own_set):
            if path.name not in listed or not listed[path.name].methods:
                continue
            found = listed[path.name].detections
            original, pixels, mask = read_pixels(path), outputs.pixels(path), outputs.mask(path)
            for box, score in zip(found.boxes, found.scores, strict=True):
                if score >= SEAM_SCORE:
                    for line in (energies, *outside.values()):
                        line.add(original, pixels, mask, box)
        own = energies.measure()
        further = {f"outside {share:g}": line.measure().ratio for share, line in outside.items()}
        out[own_set] = {key: getattr(own, key) for key in ("faces", "ratio", "across", "along", "median")} | further
        if own.faces:
            shown = ", ".join(f"{key} {ratio:.2f}" for key, ratio in further.items() if ratio is not None)
            print(
                f"{name}: seam, {own_set}: ratio {own.ratio:.2f} (across {own.across:.2f}, along {own.along:.2f}, median of "
                f"faces {own.median:.2f}, {own.faces} faces); {shown}",
                flush=True,
            )
    return out


def faces_for_probe(runs: Runs, name: str) -> Iterator[tuple[str, str, Path, FloatArray]]:
    """Yield set, group, image and box of the faces that the probe sees.

    Street faces are those labelled to wear no mask, because medical masks give the originals away.
    """
    for own_set in ("pairs", "held"):
        listed = runs.outputs(name, own_set).listing()
        for path in runs.images(own_set):
            found = listed[path.name].detections if path.name in listed else Detections.empty()
            if (index := largest(found)) is not None:
                group = path.stem.partition("_")[0] if own_set == "pairs" else path.stem
                yield own_set, f"{own_set} {group}", path, found.boxes[index]
    listed, labelled = runs.outputs(name, "photos").listing(), runs.data.labelled()
    for path in runs.images("photos"):
        bare = [face.box for face in labelled.get(path.name, ()) if face.kind == WITHOUT_MASK]
        if path.name in listed and bare:
            boxes = listed[path.name].detections.boxes
            overlap = pairwise_iou(boxes, np.array(bare, np.float32)) if len(boxes) else np.zeros((0, 1))
            for box, best in zip(boxes, overlap.max(axis=1), strict=True):
                if best > SAME_FACE_IOU and (box[2:] - box[:2]).max() >= BARE_PX:
                    yield "street, bare", f"photos {path.stem}", path, box


def probes(runs: Runs, name: str) -> Figures:
    """Area under the ROC curve of real against replaced, by feature set and slice."""
    store, out = runtime().store, {}
    kinds: list[FaceFeatures] = [DetectorFeatures(store), NoiseFeatures()]
    samples = {kind.name: ProbeSamples() for kind in kinds}
    folder = {"pairs": "pairs", "held": "held", "street, bare": "photos"}
    for own_set, group, path, box in faces_for_probe(runs, name):
        both = (read_pixels(path), runs.outputs(name, folder[own_set]).pixels(path))
        crops = [crop_around(pixels, box) for pixels in both]
        for kind in kinds:
            samples[kind.name].add(group, (own_set,), kind.of(crops[0]), kind.of(crops[1]))
    for kind in kinds:
        measures = probe(samples[kind.name])
        out[kind.name] = {
            part: {"auc": own.auc, "interval": own.interval, "accuracy": own.accuracy, "faces": own.faces}
            for part, own in measures.items()
        }
        print(f"{name}: probe AUC, {kind.name} features: {describe(measures)}", flush=True)
    return out


def recognised(runs: Runs, name: str) -> Figures:
    """Rank 1 with galleries of originals and of outputs, cosines and equal error rates on the pairs, by embedder."""
    out: Figures = {}
    for embedder in _embedders(runs):
        rows = _pair_features(runs, name, embedder)
        original, release = rows["original"], rows["pairs"]
        originals, same = attack(original, release), attack(release, release)
        other = attack(rows["pairs.attacker"], release)
        neutral, smiling, shifted = (
            rows["pairs.identity"].neutral,
            rows["pairs.identity"].smiling,
            rows["pairs.shifted"].smiling,
        )
        identity = measure_identity(IdentityFeatures(neutral, smiling, shifted, original.neutral, original.smiling))
        own, others = _cosines(original, release)
        strangers = recognition.cosines(original.neutral, original.smiling)
        away = strangers[~np.eye(len(strangers), dtype=np.bool_)]
        figures = {
            "chance": originals.chance,
            "rank_1_original_gallery": originals.rank_1,
            "rank_1_treated_gallery_same_key": same.rank_1,
            "rank_1_treated_gallery_other_key": other.rank_1,
            "equal_error_rate": originals.equal_error_rate,
            "cosine_to_own_original": own,
            "cosine_to_others_originals": others,
            "cosine_of_strangers": float(away.mean()),
            "equal_error_rate_of_one_seed": identity.equal_error_rate,
            "equal_error_rate_of_seed_alone": identity.equal_error_rate_of_seed,
            "rank_1_of_originals": attack(original, original).rank_1,
        }
        out[embedder.name] = figures
        shown = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in figures.items() if value is not None)
        print(f"{name}: {embedder.name}: {shown}; own minus others {own - others:+.3f}", flush=True)
    return out


def _pair_features(runs: Runs, name: str, embedder: Embedder) -> dict[str, PairFeatures]:
    pairs, listed = runs.data.pairs(), runs.outputs(name, "pairs").listing()
    chosen = []
    for neutral, smiling in pairs:
        marks = []
        for path in (neutral, smiling):
            found = listed[path.name].detections
            index = largest(found)
            marks.append(None if index is None else found.landmarks[index])
        if all(mark is not None for mark in marks):
            chosen.append((neutral, smiling, marks))

    def rows(read: Callable[[Path], PixelArray], side: int) -> FloatArray:
        return embedder.embed([aligned_crop(read(item[side]), item[2][side]) for item in chosen])

    out = {"original": PairFeatures(rows(read_pixels, 0), rows(read_pixels, 1))}
    for own in ("pairs", "pairs.attacker", "pairs.identity", "pairs.shifted"):
        read = runs.outputs(name, own).pixels
        # Only smiling portraits are produced with the seed of the next person.
        smiling = rows(read, 1)
        out[own] = PairFeatures(smiling if own == "pairs.shifted" else rows(read, 0), smiling)
    return out


def _cosines(original: PairFeatures, release: PairFeatures) -> tuple[float, float]:
    """Return the mean cosine of outputs to their own originals, and to other persons' originals."""
    own, others = [], []
    for made, real in ((release.neutral, original.neutral), (release.smiling, original.smiling)):
        own.append(np.diagonal(recognition.cosines(made, real)))
    for made, real in ((release.neutral, original.smiling), (release.smiling, original.neutral)):
        between = recognition.cosines(made, real)
        others.append(between[~np.eye(len(between), dtype=np.bool_)])
    return float(np.concatenate(own).mean()), float(np.concatenate(others).mean())


def _embedders(runs: Runs) -> list[Embedder]:
    storage = Storage()
    return [load_embedder(storage, EmbedderSettings(address), 1) for address in runs.embedders]


MEASURES: dict[str, Callable[[Runs, str], Figures]] = {
    "ap": precision_kept,
    "frechet": frechet,
    "seam": seam,
    "probe": probes,
    "pairs": recognised,
}
