"""How face recognisers see the outputs of the pairs, and the distance between held-out faces and their outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anon_batch.config import ModelsConfig
from anon_batch.evaluate import recognition
from anon_batch.evaluate.attacks.scores import PairFeatures, compare
from anon_batch.evaluate.frechet import FeatureMoments, frechet_distance
from anon_batch.evaluate.identity import IdentityFeatures, measure_identity
from anon_batch.models.store import ModelStore
from anon_batch.recognition.embedder import Embedder, Face, load_embedder
from anon_batch.records import FloatArray, PixelArray
from anon_batch.storage import Storage
from tools.faces.runs import Figures, Runs, largest
from tools.faces.sets import read_pixels


class _Portrait(NamedTuple):
    """An image of a pair and the landmarks of its face."""

    path: Path
    landmarks: FloatArray


def frechet(runs: Runs, name: str) -> Figures:
    """Frechet distance of held-out faces from the originals, on each embedder's features."""
    outputs, out = runs.outputs(name, "held"), {}
    for embedder in _embedders(runs):
        before, after = FeatureMoments(embedder.dimensions), FeatureMoments(embedder.dimensions)
        for path, found in runs.detections(name, "held"):
            if (index := largest(found)) is None:
                continue
            for moments, pixels in ((before, read_pixels(path)), (after, outputs.pixels(path))):
                moments.add(embedder.embed([Face(pixels, found.landmarks[index])]))
        distance = frechet_distance(before, after)
        out[embedder.name] = {"distance": distance, "faces": after.count}
        shown = "too few faces" if distance is None else f"{distance:.3f}"
        print(f"{name}: Frechet distance on {embedder.name}: {shown} ({after.count} faces)", flush=True)
    return out


def recognised(runs: Runs, name: str) -> Figures:
    """Rank 1 with galleries of originals and of outputs, cosines and equal error rates on the pairs, by embedder."""
    out: Figures = {}
    for embedder in _embedders(runs):
        figures = _figures(_pair_features(runs, name, embedder))
        out[embedder.name] = figures
        shown = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in figures.items() if value is not None)
        print(f"{name}: {embedder.name}: {shown}", flush=True)
    return out


def _figures(rows: dict[str, PairFeatures]) -> Figures:
    original, release = rows["original"], rows["pairs"]
    own_gallery = compare(original, release)
    genuine, impostor = (v[np.isfinite(v)] for v in (own_gallery.genuine(), own_gallery.impostor()))
    seeds = rows["pairs.identity"]
    identity = measure_identity(
        IdentityFeatures(seeds.first, seeds.second, rows["pairs.shifted"].second, original.first, original.second)
    )
    own, others = _cosines(original, release)
    originals = recognition.cosines(original.first, original.second)
    return {
        "chance": 1 / own_gallery.persons,
        "rank_1_original_gallery": _rank_1(original, release),
        "rank_1_anonymized_gallery_same_key": _rank_1(release, release),
        "rank_1_anonymized_gallery_other_key": _rank_1(rows["pairs.attacker"], release),
        "equal_error_rate": recognition.equal_error_rate(genuine, impostor),
        "cosine_to_own_original": own,
        "cosine_to_others_originals": others,
        "own_less_others": own - others,
        "cosine_of_different_originals": float(originals[~np.eye(len(originals), dtype=np.bool_)].mean()),
        "equal_error_rate_of_one_seed": identity.equal_error_rate,
        "equal_error_rate_of_seed_alone": identity.equal_error_rate_of_seed,
        "rank_1_of_originals": _rank_1(original, original),
    }


def _rank_1(gallery: PairFeatures, probes: PairFeatures) -> float:
    """Return the share of persons who are named for their probe."""
    return float(compare(gallery, probes).hits().mean())


def _pair_features(runs: Runs, name: str, embedder: Embedder) -> dict[str, PairFeatures]:
    """Return features of the originals and of each pass; `pairs.shifted` has smiling portraits alone, in both places."""
    found = dict(runs.detections(name, "pairs"))
    sides: tuple[list[_Portrait], list[_Portrait]] = ([], [])
    for pair in runs.data.pairs():
        indices = [largest(found[path]) for path in pair]
        if None not in indices:
            for side, path, index in zip(sides, pair, indices, strict=True):
                side.append(_Portrait(path, found[path].landmarks[index]))

    def rows(read: Callable[[Path], PixelArray], portraits: Sequence[_Portrait]) -> FloatArray:
        return embedder.embed([Face(read(one.path), one.landmarks) for one in portraits])

    neutral, smiling = sides
    out = {"original": PairFeatures(rows(read_pixels, neutral), rows(read_pixels, smiling))}
    for own in ("pairs", "pairs.attacker", "pairs.identity", "pairs.shifted"):
        read = runs.outputs(name, own).pixels
        features = rows(read, smiling)
        out[own] = PairFeatures(features if own == "pairs.shifted" else rows(read, neutral), features)
    return out


def _cosines(original: PairFeatures, release: PairFeatures) -> tuple[float, float]:
    """Return the mean cosine of outputs to their own originals, and to other persons' originals."""
    own = [
        np.diagonal(recognition.cosines(release.first, original.first)),
        np.diagonal(recognition.cosines(release.second, original.second)),
    ]
    others = []
    for made, real in ((release.first, original.second), (release.second, original.first)):
        between = recognition.cosines(made, real)
        others.append(between[~np.eye(len(between), dtype=np.bool_)])
    return float(np.concatenate(own).mean()), float(np.concatenate(others).mean())


def _embedders(runs: Runs) -> list[Embedder]:
    store = ModelStore(Storage(), ModelsConfig())
    return [load_embedder(store, address, 1) for address in runs.embedders]
