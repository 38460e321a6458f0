"""The figures that replaced faces are judged by, from the outputs that `produce` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from anon_batch.config import DetectConfig, DetectorConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.protocol import Detector
from anon_batch.evaluate.average_precision import ScorerStats, anonymized_truth
from anon_batch.evaluate.probe import ProbeSamples, describe, probe
from anon_batch.evaluate.probe_features import DetectorFeatures, FaceFeatures, NoiseFeatures, crop_around
from anon_batch.evaluate.seam import SeamEnergies
from anon_batch.geometry import clip_detections, pairwise_iou
from anon_batch.records import Detections, FloatArray, GroundTruth, PixelArray, Preview
from tools.faces.recognition import frechet, recognised
from tools.faces.runs import Figures, Runs, largest
from tools.faces.sets import WITHOUT_MASK, read_pixels
from tools.faces.variants import runtime

BARE_PX = 28  # longer side of the smallest bare street face of the probe
SEAM_SCORE = 0.6
SEAM_OFFSETS = (0.03, 0.06, 0.09)  # lines outside the masks, where a soft edge may show
SAME_FACE_IOU = 0.5
MAX_SEEDS = 9


def precision_kept(runs: Runs, name: str) -> Figures:
    """Average precision of a second detector, and of the default one, that is kept: by scorer, seed and band."""
    seeds = ["photos", *(f"photos.seed{seed}" for seed in range(1, MAX_SEEDS))]
    passes = [own for own in seeds if runs.outputs(name, own).exists]
    found = dict(runs.detections(name, "photos"))
    out: Figures = {}
    for scorer, detector in _scorers().items():
        before = _scores(runs, detector, found, read_pixels)
        kept: dict[str, list[float]] = {}
        for own in passes:
            after = _scores(runs, detector, found, runs.outputs(name, own).pixels).measures(before)
            for title, bands in (("labelled", after.labelled_faces), ("anonymized", after.anonymized_faces)):
                for band in ("all", "from_16_px"):
                    kept.setdefault(f"{title}, {band}", []).append(bands[band].kept or 0.0)
        out[scorer] = {key: {"mean": float(np.mean(values)), "seeds": values} for key, values in kept.items()}
        for key, values in kept.items():
            shown = ", ".join(f"{value:.1%}" for value in values)
            print(f"{name}: AP kept by {scorer}, {key}: {np.mean(values):.1%} ({shown})", flush=True)
    return out


def _scorers() -> dict[str, Detector]:
    """Return the second detector as `anon-batch evaluate` uses it, and the default one."""
    base, own = DetectConfig(), runtime()
    second = {"detectors": (DetectorConfig(name="yunet_n", scale=2.0),), "min_side_px": 0.0, "refine_small": False}
    default = "+".join(detector.name for detector in base.detectors)
    return {
        "yunet_n": build_detector(base.model_copy(update=second), own),
        f"default ({default})": build_detector(base, own),
    }


def _scores(
    runs: Runs, detector: Detector, detected: Mapping[Path, Detections], read: Callable[[Path], PixelArray]
) -> ScorerStats:
    labelled, scores = runs.data.labelled(), ScorerStats()
    for path, detections in detected.items():
        faces = labelled.get(path.name)
        if faces is None:
            continue
        pixels = read(path)
        height, width = pixels.shape[:2]
        truth = GroundTruth(np.array([face.box for face in faces], np.float32), np.zeros(len(faces), np.bool_))
        chosen = clip_detections(detections, width, height)
        found = clip_detections(detector.detect([Preview(path.name, pixels)])[0], width, height)
        scores.add(found, truth, anonymized_truth(chosen, truth))
    return scores


def seam(runs: Runs, name: str) -> Figures:
    """Gradients across over along the masks' borders, relative to the originals, by set."""
    out: Figures = {}
    for own_set in ("pairs", "photos"):
        outputs, energies = runs.outputs(name, own_set), SeamEnergies()
        outside = {share: SeamEnergies(share) for share in SEAM_OFFSETS}
        for path, found in runs.detections(name, own_set):
            if not outputs.has_mask(path):
                continue
            original, pixels, mask = read_pixels(path), outputs.pixels(path), outputs.mask(path)
            for box in found.boxes[found.scores >= SEAM_SCORE]:
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


def probes(runs: Runs, name: str) -> Figures:
    """Area under the ROC curve of original against replaced, by feature set and slice."""
    out: Figures = {}
    kinds: Sequence[FaceFeatures] = (DetectorFeatures(runtime().store), NoiseFeatures())
    samples = {kind.name: ProbeSamples() for kind in kinds}
    for part, own_set, group, path, box in _faces_for_probe(runs, name):
        both = (read_pixels(path), runs.outputs(name, own_set).pixels(path))
        crops = [crop_around(pixels, box) for pixels in both]
        for kind in kinds:
            samples[kind.name].add(f"{own_set} {group}", (part,), kind.of(crops[0]), kind.of(crops[1]))
    for kind in kinds:
        measures = probe(samples[kind.name])
        out[kind.name] = {
            part: {"auc": own.auc, "interval": own.interval, "accuracy": own.accuracy, "faces": own.faces}
            for part, own in measures.items()
        }
        print(f"{name}: probe AUC, {kind.name} features: {describe(measures)}", flush=True)
    return out


def _faces_for_probe(runs: Runs, name: str) -> Iterator[tuple[str, str, str, Path, FloatArray]]:
    """Yield slice, set, group, image and box of the faces that the probe sees.

    Street faces are those labelled to wear no mask, because medical masks give the originals away.
    """
    for own_set in ("pairs", "held"):
        for path, found in runs.detections(name, own_set):
            if (index := largest(found)) is not None:
                group = path.stem.partition("_")[0] if own_set == "pairs" else path.stem
                yield own_set, own_set, group, path, found.boxes[index]
    labelled = runs.data.labelled()
    for path, found in runs.detections(name, "photos"):
        bare = [face.box for face in labelled.get(path.name, ()) if face.kind == WITHOUT_MASK]
        if not bare or not len(found):
            continue
        overlap = pairwise_iou(found.boxes, np.array(bare, np.float32)).max(axis=1)
        for box in found.boxes[overlap > SAME_FACE_IOU]:
            if (box[2:] - box[:2]).max() >= BARE_PX:
                yield "street, bare", "photos", path.stem, path, box


MEASURES: dict[str, Callable[[Runs, str], Figures]] = {
    "ap": precision_kept,
    "frechet": frechet,
    "seam": seam,
    "probe": probes,
    "pairs": recognised,
}
