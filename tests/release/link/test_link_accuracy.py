"""What templates keep of a recogniser, what their key protects, and how many hits a search expects: measured on photographs."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from external_data import MODELS, PAIRS, PHOTOS, needs_data, skip_without_weights
from link_commands import WHO, cli
from link_dataset import VARIANTS, dataset, linked_job, variant
from patch_fixtures import rows_of
from pipeline_fixtures import process_all

from anon_batch import Anonymizer
from anon_batch.config import ModelsConfig
from anon_batch.evaluate.recognition import cosines, equal_error_rate
from anon_batch.imaging.source import SourceImage
from anon_batch.models.store import ModelStore
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.recognition.embedder import Embedder, Face, load_embedder
from anon_batch.recognition.impostors import Impostors
from anon_batch.recognition.templates import TEMPLATE_BITS, TemplateKey
from anon_batch.storage import Storage

EMBEDDER = "mobilefacenet_kw.onnx"
KEYS = [TemplateKey(hashlib.sha256(bytes([number])).digest()) for number in range(5)]
Array = np.ndarray


class Seen(NamedTuple):
    """Faces of a set: the image of each, its shorter side, and its feature."""

    images: list[str]
    sides: Array
    features: Array


def embedder() -> Embedder:
    skip_without_weights(EMBEDDER)
    return load_embedder(ModelStore(Storage(), ModelsConfig()), str(MODELS / EMBEDDER), 1)


def see(
    folder: Path, own: Embedder, only: list[str] | None = None, shrink_to: int | None = None, least: int = 24
) -> Seen:
    """Detect and embed faces; with `shrink_to`, each image is first made so small that its largest face has this side."""
    detector, images, sides, features = Anonymizer(policy="solid", key=bytes(32)), [], [], []
    for name in only or sorted(path.name for path in folder.iterdir()):
        source = SourceImage.open(name, (folder / name).read_bytes())
        [found] = detector.detect([source])
        pixels, boxes, points = source.decode().pixels, found.boxes, found.landmarks  # type: ignore[union-attr]
        order = np.argsort(-found.scores)[: 1 if only else None]  # type: ignore[union-attr]
        for at in order:
            side = float((boxes[at, 2:] - boxes[at, :2]).min())
            if not np.isfinite(points[at]).all() or (shrink_to is None and side < least):
                continue
            scale = 1.0 if shrink_to is None else shrink_to / side
            small = pixels if scale == 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            features.append(own.embed([Face(np.asarray(small, np.uint8), points[at] * scale)])[0])
            images.append(name)
            sides.append(side)
    return Seen(images, np.array(sides), np.array(features))


def portraits(column: str, own: Embedder, shrink_to: int | None = None) -> Array:
    rows = list(csv.DictReader((PAIRS / "pairs.csv").read_text("utf-8").splitlines()))
    return see(PAIRS / "images", own, [row[column] for row in rows], shrink_to).features


def similarities(key: TemplateKey, one: Array, two: Array) -> Array:
    """Similarities of features to the templates of other features, both under one key."""
    templates = np.stack([np.frombuffer(key.template(feature), np.uint8) for feature in two])
    return np.stack([key.similarities(feature, templates) for feature in one])


def of_keys(first: TemplateKey, second: TemplateKey, one: Array, two: Array) -> Array:
    """Similarities of templates of two keys."""
    left, right = (
        np.stack([np.unpackbits(np.frombuffer(key.template(feature), np.uint8)) for feature in features]).astype(float)
        * 2
        - 1
        for key, features in ((first, one), (second, two))
    )
    return np.asarray(np.sin(np.pi / 2 * (left @ right.T) / TEMPLATE_BITS))


def linkability(mated: Array, others: Array) -> float:
    """D_sys of Gomez-Barrero et al. 2018, "General framework to evaluate unlinkability", equation 7, with equal priors."""
    edges = np.quantile(np.concatenate([mated, others]), np.linspace(0, 1, 11))
    edges[0], edges[-1] = -1.1, 1.1
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (mated, others))
    ratio = p / np.maximum(q, 1e-9)
    return float((p * np.where(ratio > 1, 2 * ratio / (1 + ratio) - 1, 0)).sum())


@pytest.mark.accuracy
@needs_data(PAIRS)
def test_templates_tell_persons_apart_as_features_do_and_other_keys_at_chance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = embedder()
    reference = portraits("neutral", own)
    same = np.eye(len(reference), dtype=bool)
    lines = []
    for size, most in ((None, 0.005), (32, 0.01), (16, 0.08)):
        probes = portraits("smiling", own, size)
        plain = cosines(probes, reference)
        made = np.stack([similarities(key, probes, reference) for key in KEYS])
        genuine, impostor = made[:, same].ravel(), made[:, ~same].ravel()
        threshold, plain_threshold = (np.quantile(values, 1 - 1e-3) for values in (impostor, plain[~same]))
        rate = equal_error_rate(genuine, impostor)
        plain_rate = equal_error_rate(plain[same], plain[~same])
        lines.append(
            f"{size or 'full'} px: equal error rate {rate:.2%} (features {plain_rate:.2%}), true "
            f"accepts at 1e-3 {(genuine >= threshold).mean():.1%} (features {(plain[same] >= plain_threshold).mean():.1%})"
        )
        assert rate is not None
        assert rate <= most
        crossed = [of_keys(a, b, probes, reference) for a in KEYS for b in KEYS if a is not b]
        mated, others = (np.concatenate([values[mask] for values in crossed]) for mask in (same, ~same))
        accepted, d_sys = float((mated >= threshold).mean()), linkability(mated, others)
        lines.append(f"{size or 'full'} px, another key: accepted {accepted:.2%}, D_sys {d_sys:.3f}")
        assert accepted <= 0.004
        assert d_sys < 0.1
    with capsys.disabled():
        print("", *lines, sep="\n")


@pytest.mark.accuracy
@needs_data(PAIRS)
def test_who_has_key_and_template_gets_the_feature_back(capsys: pytest.CaptureFixture[str]) -> None:
    """So that nobody claims the opposite: templates are protected by encryption alone."""
    features = portraits("neutral", embedder())
    cosine = []
    for feature in features:
        bits = np.unpackbits(np.frombuffer(KEYS[0].template(feature), np.uint8)).astype(float) * 2 - 1
        guess = KEYS[0]._normals(len(feature)) @ bits
        cosine.append(float(guess @ feature / np.linalg.norm(guess)))
    with capsys.disabled():
        print(f"\nfeature rebuilt from template and key: mean cosine {np.mean(cosine):.3f}, least {min(cosine):.3f}")
    assert min(cosine) > 0.8


@pytest.mark.accuracy
@needs_data(PAIRS, PHOTOS)
def test_an_absent_person_has_no_more_hits_than_expected(capsys: pytest.CaptureFixture[str]) -> None:
    own = embedder()
    crowd, faces = see(PHOTOS / "images", own), {c: portraits(c, own) for c in ("neutral", "smiling")}
    half = np.array([hashlib.sha256(name.encode()).digest()[0] % 2 for name in crowd.images])
    lines = []
    for which in (0, 1):  # the quantiles of the fit were chosen on 0
        gallery = crowd.features[half == which]
        queries = np.concatenate([values[which::2] for values in faces.values()])
        for most in (0.1, 1, 10):
            made = similarities(KEYS[0], queries, gallery)
            hits = [int((scores >= Impostors(scores).threshold(most)).sum()) for scores in made]
            lines.append(
                f"half {which}: {most:g} allowed, {np.mean(hits):.2f} seen (most {max(hits)}), {len(gallery)} faces"
            )
            assert np.mean(hits) <= most
    # Two photographs of everybody among the crowd: the other one is found.
    found = []
    gallery = np.concatenate([crowd.features[half == 1], faces["neutral"]])
    for at, scores in enumerate(similarities(KEYS[0], faces["smiling"], gallery)):
        found.append(scores[(half == 1).sum() + at] >= Impostors(scores).threshold(1))
    lines.append(f"other portrait found among {len(gallery)} faces: {np.mean(found):.1%} of {len(found)}")
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert np.mean(found) > 0.95


@pytest.mark.accuracy
@needs_data(PAIRS)
@pytest.mark.parametrize("method", ["swap", "gan"])
def test_a_published_face_leads_to_its_person_with_the_key_alone(tmp_path: Path, method: str) -> None:
    skip_without_weights(EMBEDDER)
    folder = dataset(tmp_path)
    more = {
        "identity.scope": "dataset",
        "anonymize.face.method": method,
        "run_key_file": None,
        "link.embedder": str(MODELS / EMBEDDER),
    }
    donors = f"donors@{ModelStore(Storage(), ModelsConfig()).digest('donors')}"
    run, _ = open_run(linked_job(folder, "same", **more), (donors,))
    process_all(run)
    finalize(run)
    rows = {row["image_id"]: row for row in rows_of(run)}
    assert rows["p4/0.jpg"]["regions"][0]["method"] == method
    shutil.copy(folder / "same/images/p4/0.jpg", folder / "new-face.jpg")
    (folder / "p4.jpg").write_bytes(variant(4, VARIANTS))
    given = ["link", folder / "same", *WHO, "--virtual", folder / "new-face.jpg", "--json"]
    code, said = cli(*given, "--key", folder / "k")
    assert code == 0, said
    found = json.loads(said)
    assert found["donor"]["sure"]
    whose = [own for own in found["persons"] if any(name.startswith("p4/") for name in own["faces"])]
    assert [sorted(own["faces"]) for own in whose] == [["p4/0.jpg/0", "p4/1.jpg/0", "p4/2.jpg/0"]]
    for photo, decision in (("p4.jpg", "same"), ("photo.jpg", "not the same")):
        code, said = cli(*given, "--key", folder / "k", "--photo", folder / photo)
        assert code == 0, said
        [best] = [own["best"] for own in json.loads(said)["persons"] if own["best"]["image_id"].startswith("p4/")]
        assert best["decision"] == decision
    code, said = cli(*given, "--key", folder / "other", "--photo", folder / "p4.jpg")
    assert (code, "opens nothing here" in said) == (2, True)
    (folder / "same-ledger/run.key").unlink()
    code, said = cli(*given, "--key", folder / "k")
    assert (code, "no run key here" in said) == (2, True), said
