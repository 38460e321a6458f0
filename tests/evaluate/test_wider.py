"""The evaluation of WIDER FACE: lists as MATLAB saves them, known values, and its rules applied one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from wider_miniature import EVENTS, Face, column, write_lists

from anon_batch.config import StorageConfig
from anon_batch.errors import ConfigError
from anon_batch.evaluate.wider.lists import DIFFICULTIES, WiderFaces, read_lists, wider_key
from anon_batch.evaluate.wider.precision import (
    WiderPrecision,
    WiderScores,
    average_precision,
    count_image,
    normalise,
)
from anon_batch.records import Detections
from anon_batch.storage import Storage

STORAGE = Storage(StorageConfig())


def found(*rows: tuple[float, float, float, float, float]) -> Detections:
    """Return detections x, y, width, height, score."""
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], np.float32)
    return Detections(boxes, scores, np.full((len(rows), 5, 2), np.nan, np.float32), ("x",) * len(rows))


def scored(events: dict, results: dict[str, Detections]) -> WiderScores:
    out = WiderScores()
    for images in events.values():
        for name, faces in images.items():
            out.add(faces_of(faces), results.get(name, Detections.empty()))
    return out


def faces_of(faces: list[Face]) -> WiderFaces:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (f.xywh for f in faces)], np.float64).reshape(-1, 4)
    return WiderFaces(boxes, {d: np.array([d in f.counts.split() for f in faces], np.bool_) for d in DIFFICULTIES})


def test_lists_as_matlab_saves_them(tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", EVENTS)
    lists = read_lists(STORAGE, str(tmp_path / "lists"))
    assert list(lists) == [f"{event}/{name}" for event, images in EVENTS.items() for name in images]
    second = lists["0--Parade/0_Parade_b_2"]
    assert second.boxes.tolist() == [[10, 10, 40, 40], [70, 20, 100, 50], [5, 80, 9, 84]]
    assert {d: own.tolist() for d, own in second.counted.items()} == {
        "easy": [False, True, False],
        "medium": [True, True, False],
        "hard": [True, True, False],
    }
    assert len(lists["0--Parade/0_Parade_none_3"].boxes) == 0
    assert wider_key("WIDER_val/images/0--Parade/0_Parade_a_1.jpg") == "0--Parade/0_Parade_a_1"


def test_lists_that_are_not_there_or_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wider_face_val.mat: .*eval_tools.zip"):
        read_lists(STORAGE, str(tmp_path))
    write_lists(tmp_path / "lists", EVENTS)
    (tmp_path / "lists/wider_easy_val.mat").write_bytes(b"MATLAB 5.0 but cut")
    with pytest.raises(ConfigError, match=r"wider_easy_val.mat: not a MATLAB file"):
        read_lists(STORAGE, str(tmp_path / "lists"))
    for broken in ({"gt_list": column([column([np.array([[9]])])])}, {"other": 1}, {"gt_list": np.zeros((3, 3))}):
        savemat(tmp_path / "lists/wider_easy_val.mat", broken)
        with pytest.raises(ConfigError, match="not the lists of WIDER FACE"):
            read_lists(STORAGE, str(tmp_path / "lists"))


def test_values_computed_by_hand() -> None:
    # Easy counts three faces. By falling score: a right detection (precision 1, recall 1/3), a wrong one, a second one of the
    # first face, which is wrong too, then another right one (2 of 4 at recall 2/3). The third face is missed: 1/3 + 1/3 * 1/2.
    # Those on a face that does not count, and in an image without faces, are neither right nor wrong.
    results = {
        "0_Parade_a_1": found((20, 30, 40, 40, 1.0), (21, 30, 40, 40, 0.7), (100, 40, 10, 10, 0.95)),
        "0_Parade_b_2": found((120, 80, 20, 20, 0.8), (70, 20, 30, 30, 0.6), (10, 10, 30, 30, 0.9)),
        "0_Parade_none_3": found((0, 0, 50, 50, 0.99)),
        "1_Handshaking_c_4": found((50, 50, 24, 50, 0.5)),  # IoU 25 * 51 / 51² < 0.5, also with borders
    }
    own = scored(EVENTS, results)
    easy = own.measures()["easy"]
    # The last one is wrong and comes last, so that it does not lower the envelope.
    assert (easy.images, easy.faces, easy.average_precision) == (4, 3, pytest.approx(1 / 2))
    # Medium counts the face of score 0.9 too: precision 1, 1, 2/3, 2/4, 3/5 at recall 1/4, 2/4, 2/4, 2/4, 3/4.
    assert own.measures()["medium"].average_precision == pytest.approx(2 / 4 + 3 / 5 / 4)
    # Hard counts that of 0.95 as well: 3 of 3 at recall 3/5, then 4 of 6 at 4/5.
    assert own.measures()["hard"].average_precision == pytest.approx(3 / 5 + 4 / 6 / 5)


def test_a_box_that_is_only_half_over_counts_because_borders_do() -> None:
    face = np.array([[0.0, 0.0, 9.0, 9.0]])  # 10 px on each side
    half = np.array([[0.0, 0.0, 4.0, 9.0]])  # 5 of them: IoU 50 / 100; without borders 36 / 81
    counts = count_image(half, np.ones(1), face, np.array([True]))
    assert counts[0].tolist() == [1, 1]
    third = np.array([[0.0, 0.0, 3.0, 9.0]])
    assert count_image(third, np.ones(1), face, np.array([True]))[0].tolist() == [1, 0]


def test_what_is_kept_and_its_interval() -> None:
    everything = {
        name: found(*((*face.xywh, 0.9 - at / 10) for at, face in enumerate(faces) if face.counts))
        for images in EVENTS.values()
        for name, faces in images.items()
    }
    before = scored(EVENTS, everything)
    assert [own.average_precision for own in before.measures().values()] == [1, 1, 1]
    same = before.measures(before)["hard"]
    assert same == WiderPrecision(4, 5, 1.0, 1.0, 1.0, (1.0, 1.0))
    del everything["1_Handshaking_c_4"]
    after = scored(EVENTS, everything).measures(before)
    assert after["easy"].kept == pytest.approx(2 / 3)
    assert after["hard"].kept == pytest.approx(4 / 5)
    low, high = after["easy"].interval or (1.0, 0.0)
    assert low <= 2 / 3 <= high
    assert low < high
    nothing = scored(EVENTS, {})
    assert nothing.measures(before)["easy"].kept == 0
    assert before.measures(nothing)["easy"].kept is None
    assert scored({"e": {"n": []}}, {}).measures()["easy"].average_precision is None


def test_scores_are_scaled_over_all_images() -> None:
    scaled = normalise([np.array([0.5, 0.3]), np.zeros(0), np.array([0.1])])
    assert [own.round(6).tolist() for own in scaled] == [[1.0, 0.5], [], [0.0]]
    assert [own.tolist() for own in normalise([np.array([0.3]), np.array([0.3])])] == [[1.0], [1.0]]


BOXES = st.lists(
    st.tuples(*(st.integers(0, 30) for _ in range(2)), *(st.integers(1, 30) for _ in range(2))).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    ),
    max_size=6,
)
IMAGES = st.lists(st.tuples(BOXES, BOXES, st.integers(0, 2**31 - 1)), min_size=1, max_size=5)


@settings(max_examples=12, deadline=None)
@given(IMAGES)
def test_equal_to_the_rules_one_after_the_other(images: list) -> None:
    own, rows = WiderScores(), []
    for faces, boxes, seed in images:
        generator = np.random.default_rng(seed)
        counted = generator.random(len(faces)) < 0.6
        scores = np.sort(generator.integers(0, 999, len(boxes)) / 999)[::-1].astype(np.float32)
        truth = WiderFaces(np.array(faces, np.float64).reshape(-1, 4), dict.fromkeys(DIFFICULTIES, counted))
        marks = np.full((len(boxes), 5, 2), np.nan, np.float32)
        own.add(truth, Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, marks, ("x",) * len(boxes)))
        rows.append((faces, counted, boxes, scores.astype(np.float64)))
    expected = step_by_step(rows)
    measured = own.measures()["easy"].average_precision
    assert measured == (None if expected is None else pytest.approx(expected))


def step_by_step(rows: list) -> float | None:
    """Return the average precision by loops over thresholds, images and detections."""
    total = sum(int(counted.sum()) for _, counted, _, _ in rows)
    if not total:
        return None
    every = [score for *_, scores in rows for score in scores]
    low, high = min(every, default=0), max(every, default=1)
    points = []
    for step in range(1, 1001):
        proposed = recalled = 0
        for faces, counted, boxes, scores in rows:
            if not faces:
                continue
            taken = set()
            for box, score in zip(boxes, scores, strict=True):
                scaled = (score - low) / (high - low) if high > low else 1.0
                if scaled < 1 - step / 1000:
                    break
                overlaps = [overlap(box, face) for face in faces]
                best = overlaps.index(max(overlaps))
                if max(overlaps) < 0.5:
                    proposed += 1
                elif counted[best]:
                    proposed += 1
                    taken.add(best)
            recalled += len(taken)
        points.append((recalled / total, recalled / proposed if proposed else 0.0))
    area, best = 0.0, 0.0
    for (recall, precision), (before, _) in zip(points[::-1], [*points[-2::-1], (0.0, 0.0)], strict=True):
        best = max(best, precision)
        area += (recall - before) * best
    return area


def overlap(a: list, b: list) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_the_area_under_the_envelope() -> None:
    counts = np.array([[0, 0], [1, 1], [4, 2], [5, 4]], np.float64)
    assert average_precision(counts, 8) == pytest.approx(1 / 8 + 3 / 8 * 4 / 5)
