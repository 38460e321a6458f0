"""Audits of drawn identities, with a recogniser made for the test: a planted weak blur fails, solid and swap stay at chance."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anon_batch import Anonymizer, plugins
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks import parrot
from anon_batch.evaluate.attacks.attackers import Attackers, show
from anon_batch.evaluate.attacks.audit import AttackSettings, Audit
from anon_batch.evaluate.attacks.copies import vary, window
from anon_batch.evaluate.attacks.evidence import audit_release, parts_of
from anon_batch.evaluate.attacks.inversion import Training
from anon_batch.evaluate.attacks.scenes import FaceAlone, WholeImage
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject
from anon_batch.imaging.source import SourceImage
from anon_batch.recognition.embedder import Embedder, EmbedderFile, Face, aligned
from anon_batch.records import Detections
from anon_batch.storage import Storage

PERSONS, SIDE = 24, 160
MARKS = np.array([[62, 66], [98, 66], [80, 84], [66, 104], [94, 104]], np.float32)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"anon_batch.methods": [EntryPoint("weak_blur", "weak_blur:WeakBlur", "anon_batch.methods")]}
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """Return a recogniser: mean colours of cells of 14 x 14 px, less that of the crop."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Sub", ["cells", "mean"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["y"]),
    ]
    shapes = {"x": [1, 3, 112, 112], "y": [1, 192]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "cells", [values["x"]], [values["y"]])
    path = tmp_path_factory.mktemp("embedder") / "cells.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return Embedder(EmbedderFile(path=str(path)), path.read_bytes(), 1)


def _drawn(person: int, shot: int, *, surroundings: bool = True) -> Subject:
    """Return a person: a face of colours and surroundings of other colours, both of the person; light and places of the shot."""
    own, light = np.random.default_rng((person, 7)), np.random.default_rng((person, shot, 8))
    around = own.integers(40, 216, (5, 5, 3), np.uint8) if surroundings else np.full((5, 5, 3), 128, np.uint8)
    pixels = cv2.resize(around, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    face = cv2.resize(own.integers(20, 236, (9, 7, 3), np.uint8), (70, 90), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (80, 85), (33, 43), 0, 0, 360, 1, -1)
    placed = np.zeros_like(pixels)
    placed[40:130, 45:115] = face
    pixels = np.where(mask[:, :, None] > 0, placed, pixels)
    lit = pixels * light.uniform(0.9, 1.1) + light.normal(0, 6, pixels.shape)
    image = SourceImage.from_array(f"{person}-{shot}", np.clip(lit, 0, 255).astype(np.uint8))
    marks = MARKS + light.normal(0, 0.6, MARKS.shape).astype(np.float32)
    return Subject(image, Detections(np.float32([[47, 42, 113, 128]]), np.ones(1, np.float32), marks[None], ("drawn",)))


def _persons(**how: bool) -> list[tuple[Subject, Subject]]:
    return [(_drawn(person, 0, **how), _drawn(person, 1, **how)) for person in range(PERSONS)]


def _method(name: str, **options: object) -> EvaluatedMethod:
    policy = {"face": {"method": name, "fallback": ["solid"]}, "options": {name: options} if options else {}}
    return EvaluatedMethod(name, Anonymizer("centerface", policy, key=b"r" * 32))


def _key(purpose: str) -> bytes:
    return purpose.encode().ljust(32, b".")


def _audit(embedder: Embedder, **changes: object) -> Audit:
    settings = AttackSettings(("naive", "reverse", "parrot"), copies=6)
    return Audit(_persons(), (embedder,), _method("solid"), settings, _key, **changes)


@pytest.fixture(scope="module")
def audit(embedder: Embedder) -> Iterator[Audit]:
    return _audit(embedder)


def test_the_attackers_could_recognise_everybody_in_the_originals(audit: Audit) -> None:
    found = audit.of_originals()
    assert found.face_alone.strongest.rank_1.value > 0.9
    assert found.whole_image.strongest.rank_1.value > 0.9


def test_a_planted_weak_blur_fails_the_audit(audit: Audit) -> None:
    found = audit.of(_method("weak_blur"))
    assert found.verdict == "above chance"
    assert found.face_alone.strongest.rank_1.value > 0.8


def test_a_pixelation_that_is_too_fine_fails_the_audit(audit: Audit) -> None:
    assert audit.of(_method("pixelate", cells=16)).verdict == "above chance"


def test_a_method_that_does_not_see_the_face_stays_at_chance_though_surroundings_tell(audit: Audit) -> None:
    found = audit.of(_method("solid"))
    assert found.verdict == "chance"
    assert found.face_alone.strongest.rank_1.low < found.face_alone.chance < found.face_alone.strongest.rank_1.high
    assert found.whole_image.strongest.rank_1.value > 0.9
    assert found.surroundings == found.whole_image


def test_all_faces_alone_share_surroundings_and_place(audit: Audit) -> None:
    scene = FaceAlone.of([subject for pair in _persons() for subject in pair])
    one, other = scene.show(_drawn(0, 0)), scene.show(_drawn(5, 1))
    assert np.array_equal(one.landmarks, other.landmarks)
    assert np.array_equal(one.pixels[~scene.face], other.pixels[~scene.face])
    assert not np.array_equal(one.pixels[scene.face], other.pixels[scene.face])
    solid = _method("solid").anonymize([(own.image, own.detections) for own in (one, other)], _key("release"))
    assert np.array_equal(solid[0].pixels, solid[1].pixels)


def test_an_audit_is_deterministic_and_its_attackers_have_other_keys(embedder: Embedder) -> None:
    pixelate = _method("pixelate")
    first, second = (_audit(embedder) for _ in range(2))
    assert first._attack(pixelate, first._face) == second._attack(pixelate, second._face)
    seen: list[bytes] = []

    def key(purpose: str) -> bytes:
        seen.append(_key(purpose))
        return _key(purpose)

    known = show(_persons(), WholeImage(), (embedder,))
    Attackers(pixelate, known, key, 0, 2, None, lambda _: None).scores("parrot")
    assert set(seen) == {_key("release"), _key("attacker")}


@pytest.mark.parametrize("steps", [2, pytest.param(120, marks=pytest.mark.full)])
def test_an_inversion_restores_faces_of_persons_that_it_has_not_seen(embedder: Embedder, steps: int) -> None:
    others = [_drawn(person, 0, surroundings=False) for person in range(1000, 1000 + steps)]
    training = Training(others, "drawn faces", steps, 0, 1)
    audit = _audit(embedder, training=training)
    audit.settings = AttackSettings(("naive", "invert"))
    found = audit._attack(_method("weak_blur"), audit._face)
    ranks = {own.attack: own.rank_1.value for own in found.attackers}
    assert ranks["invert"] >= ranks["naive"]
    assert ranks["invert"] > 0.3


def test_figures_for_the_evidence(audit: Audit) -> None:
    parts = parts_of(audit.of(_method("weak_blur")), audit.of_originals(), audit.settings, ("cells@0",))
    rank = parts.figures["reidentification.rank_1"]
    assert rank.low < rank.value <= rank.high
    assert "the anonymized face alone; by" in rank.note
    assert parts.figures["reidentification.p_value"].value < 0.01
    assert "below the resolution" in parts.figures["reidentification.fnmr_at_fmr_0.001"].note
    table = parts.tables["reidentification.attackers"]
    assert len(table.rows) == 3 * 3
    assert set(parts.curves["reidentification.det"].lines) >= {"the anonymized face alone", "originals"}
    assert parts.skipped["reidentification.invert"] == "give --attack invert"


def test_an_audit_without_its_inputs_says_what_it_needs() -> None:
    job = JobConfig.model_validate({"manifest": "m.parquet", "output": "out"})
    parts = audit_release(job, Storage(), pairs=None, embedders=())
    assert parts.figures["reidentification.rank_1"].value is None
    assert parts.skipped == {"reidentification": "give --pairs FILE and --embedder FILE"}


def test_unknown_attacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="--attack guess: no such attack"):
        AttackSettings(("naive", "guess"))


def test_copies_keep_the_landmarks_on_the_face() -> None:
    """A mark that is drawn at a landmark is found near the moved landmark, mirrored copies included."""
    subject = _drawn(3, 0)
    pixels = np.zeros_like(subject.pixels)
    for number, point in enumerate(subject.landmarks):
        cv2.circle(pixels, tuple(int(v) for v in point), 3, (255, 40 * number + 60, 255), -1)
    marked = Subject(SourceImage.from_array("marks", pixels), subject.detections)

    for number in range(1, 12):
        copy = vary(marked, number, np.random.default_rng(number))
        bright = (copy.pixels[:, :, 0] > 100).astype(np.uint8)
        for point in copy.landmarks:
            x, y = (int(v) for v in point)
            assert bright[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].any()
        assert copy.landmarks[0, 0] < copy.landmarks[1, 0]  # the person's right eye is to the left, mirrored or not


def test_a_window_keeps_the_face_of_a_large_image() -> None:
    small = _drawn(1, 0)
    large = np.zeros((1200, 1500, 3), np.uint8)
    large[500:660, 700:860] = small.pixels
    moved = Detections(
        small.detections.boxes + np.float32([700, 500, 700, 500]),
        small.detections.scores,
        small.detections.landmarks + np.float32([700, 500]),
        ("drawn",),
    )
    cut = window(Subject(SourceImage.from_array("large", large), moved))
    assert max(cut.pixels.shape) < 700
    before, after = (aligned(Face(one.pixels, one.landmarks)) for one in (small, cut))
    assert np.abs(before[30:90, 30:80].astype(int) - after[30:90, 30:80]).max() <= 2
    assert window(small) is small


def test_the_layer_of_a_person_without_copies_knows_nobody() -> None:
    rng = np.random.default_rng(0)
    copies = rng.normal(size=(5, 6, 16)) * 0.1 + np.eye(6, 16)[None]
    copies[:, 2] = np.nan
    layer = parrot.fit(copies.astype(np.float32))
    scores = layer.score(np.eye(6, 16).astype(np.float32))
    assert np.isnan(scores[:, 2]).all()
    known = [0, 1, 3, 4, 5]
    assert (np.array(known)[np.nanargmax(scores[known][:, known], axis=1)] == known).all()


def test_declared_places_of_landmarks_are_used(tmp_path: Path) -> None:
    places = ((10.0, 12.0), (30.0, 12.0), (20.0, 22.0), (12.0, 32.0), (28.0, 32.0))
    file = EmbedderFile(path="x.onnx", size=(40, 40), template=places)
    face = Face(np.full((200, 200, 3), 9, np.uint8), np.array(places) * 2 + 20.5)
    assert (aligned(face, file.places, file.size) == 9).all()
    default = EmbedderFile(path="x.onnx", size=(224, 224))
    assert default.places == pytest.approx((EmbedderFile(path="x").places + 0.5) * 2 - 0.5)
