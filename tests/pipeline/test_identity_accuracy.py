"""One person, one new face, and nobody's own: measured with an embedder on persons of whom there are two photographs."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from external_data import MODELS, PAIRS, needs_data, skip_without_weights

from anon_batch import Anonymizer
from anon_batch.config import ModelsConfig
from anon_batch.evaluate.recognition import cosines, equal_error_rate, rank_one_hits
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.persons import PersonColumn
from anon_batch.models.store import ModelStore
from anon_batch.outcomes import Anonymized
from anon_batch.recognition.embedder import Face, load_embedder
from anon_batch.storage import Storage

EMBEDDER = "mobilefacenet_kw.onnx"
Features = np.ndarray


def tokens(persons: list[str], key: bytes) -> list[str | None]:
    import pyarrow as pa

    from anon_batch.config.identity import IdentityConfig

    table = pa.table({"person": persons})
    column = PersonColumn(IdentityConfig(scope="dataset"), table.schema, lambda: key, "m")
    [made] = column.private(table).values()
    return made.to_pylist()


@pytest.mark.accuracy
@needs_data(PAIRS)
@pytest.mark.parametrize("method", ["swap", "gan"])
def test_persons_keep_one_face_under_one_key_alone(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    skip_without_weights(EMBEDDER)
    embedder = load_embedder(ModelStore(Storage(), ModelsConfig()), str(MODELS / EMBEDDER), 1)
    persons = list(csv.DictReader((PAIRS / "pairs.csv").read_text("utf-8").splitlines()))
    names = [row["person"] for row in persons]
    policy = {"face": {"method": method}, "options": {method: {"donor_by": "subject"}}}
    anonymizer = Anonymizer(policy=policy, key=bytes(32))
    sources = {
        side: [SourceImage.open(row[side], (PAIRS / "images" / row[side]).read_bytes()) for row in persons]
        for side in ("neutral", "smiling")
    }
    found = {side: anonymizer.detect(own) for side, own in sources.items()}

    def embed(side: str, key: bytes | None) -> Features:
        faces = []
        own = None if key is None else tokens(names, key)
        best = [detections.take(np.array([int(detections.scores.argmax())])) for detections in found[side]]  # type: ignore[union-attr]
        done = anonymizer.process(sources[side], detections=best, persons=own)
        for outcome, detections in zip(done, best, strict=True):
            assert isinstance(outcome, Anonymized)
            pixels = outcome.source.decode().pixels if key is None else outcome.pixels
            faces.append(Face(pixels, detections.landmarks[0]))
        return np.asarray(embedder.embed(faces))

    original = {side: embed(side, None) for side in sources}
    first = {side: embed(side, bytes(range(32))) for side in sources}
    other = embed("smiling", bytes(range(1, 33)))
    same = np.eye(len(names), dtype=bool)

    def eer(one: Features, two: Features) -> float:
        similarity = cosines(one, two)
        rate = equal_error_rate(similarity[same], similarity[~same])
        assert rate is not None
        return rate

    within, across = eer(first["neutral"], first["smiling"]), eer(first["neutral"], other)
    to_original = eer(first["neutral"], original["smiling"])
    hits = rank_one_hits(cosines(first["neutral"], original["smiling"]), np.arange(len(names))).mean()
    with capsys.disabled():
        print(
            f"\n{method}, {len(names)} persons: equal error rate {within:.1%} under one key, {across:.1%} under two, "
            f"{to_original:.1%} against the originals; rank 1 among the originals {hits:.1%} (chance {1 / len(names):.1%})"
        )
    assert within <= 0.05
    assert across >= 0.35
    assert to_original >= 0.35
    assert hits <= 3 / len(names)
