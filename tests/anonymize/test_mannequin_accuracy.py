"""What of persons is left after `mannequin`, and what is gone: postures, places, colours, widths, faces.

Nobody labelled bodies in these photographs: persons are those that the detector `person` finds in the originals (score at least
LEAST_SCORE, longer side at least LEAST_PX) and that are drawn. Settings were chosen on half 0; half 1 is reported.
"""

from __future__ import annotations

import csv
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from external_data import MODELS, PAIRS, PHOTOS, needs_data, skip_without_weights
from labelled_images import half_of, images_of
from method_harness import KEY, RUNTIME

from anon_batch import Anonymizer, geometry
from anon_batch.anonymize.bodies.draw import draw
from anon_batch.anonymize.bodies.figure import make_figure
from anon_batch.detect.pose import KEYPOINTS, PoseFinder
from anon_batch.evaluate.recognition import cosines, rank_one_hits
from anon_batch.geometry import pairwise_iou, union_of_masks
from anon_batch.imaging.source import SourceImage
from anon_batch.recognition.embedder import Face, load_embedder
from anon_batch.records import Region
from anon_batch.stats.intervals import wilson

HALF = 1
METHODS = ("mannequin", "inpaint", "solid")
LEAST_SCORE, LEAST_PX = 0.4, 64
SEEN = 0.5  # confidence from which a keypoint of the original counts
NEAR = 0.2  # of the trunk's length, within which a keypoint is kept
EMBEDDER = "mobilefacenet_kw.onnx"
SHOULDERS, HIPS = ([KEYPOINTS.index(f"{side} {at}") for side in ("left", "right")] for at in ("shoulder", "hip"))

pytestmark = pytest.mark.accuracy


class Person(NamedTuple):
    """One drawn person: the region as rendered, what it showed, and the place in the list of images."""

    image: int
    region: Region


class Scenes(NamedTuple):
    """Photographs, what the detector found in them, the same after each method, and the persons drawn in them."""

    originals: list[np.ndarray]
    found: list
    after: dict[str, list[np.ndarray]]
    persons: list[Person]
    tried: int


def anonymizer(method):
    how = {"method": method, "fallback": ["inpaint", "solid"]}
    return Anonymizer({"detectors": ["person"]}, {"person": how}, key=KEY)


def is_counted(detections):
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    return (detections.scores >= LEAST_SCORE) & (sides.max(axis=1) >= LEAST_PX)


@pytest.fixture(scope="module")
def scenes():
    own = {method: anonymizer(method) for method in METHODS}
    images = [np.array(image.pixels) for entry, image in images_of(PHOTOS) if half_of(entry["file"]) == HALF]
    sources = [SourceImage.from_array(str(at), pixels) for at, pixels in enumerate(images)]
    found = own["mannequin"].detect(sources)
    after, persons, tried = {}, [], 0
    for method in METHODS:
        outcomes = [
            own[method].process([source], detections=[one])[0] for source, one in zip(sources, found, strict=True)
        ]
        after[method] = [outcome.pixels for outcome in outcomes]
        if method == "mannequin":
            for at, outcome in enumerate(outcomes):
                counted = is_counted(found[at])
                tried += int(counted.sum())
                persons += [
                    Person(at, region)
                    for region in getattr(outcome, "regions", ())
                    if counted[region.index] and outcome.result.methods[region.index] == "mannequin"
                ]
    print(
        f"\n{len(images)} photographs of half {HALF}, {tried} persons, {len(persons)} drawn ({len(persons) / tried:.0%})"
    )
    return Scenes(images, found, after, persons, tried)


def kept(points, person):
    """Return which of the keypoints that were seen in the original are near again, a bool each."""
    before = person.region.keypoints
    seen = before[:, 3] >= SEEN
    if points is None:
        return np.zeros(int(seen.sum()), np.bool_)
    trunk = np.linalg.norm(before[SHOULDERS, :2].mean(axis=0) - before[HIPS, :2].mean(axis=0))
    return np.linalg.norm(points[:, :2] - before[:, :2], axis=1)[seen] <= NEAR * trunk


def in_box_of(person, other):
    """Return another person's keypoints, moved and scaled into a person's box."""
    points = other.region.keypoints.copy()
    (x1, y1, x2, y2), (u1, v1, u2, v2) = person.region.box, other.region.box
    points[:, 0] = (points[:, 0] - (u1 + u2) / 2) * (y2 - y1) / (v2 - v1) + (x1 + x2) / 2
    points[:, 1] = (points[:, 1] - v1) * (y2 - y1) / (v2 - v1) + y1
    return points


@needs_data(PHOTOS)
def test_a_further_search_finds_the_keypoints_where_they_were(scenes):
    finder = PoseFinder.load(RUNTIME)

    def share(name, points_of):
        hits = [kept(points_of(person), person) for person in scenes.persons]
        low, high = by_images(scenes, hits)
        value = np.mean(np.concatenate(hits))
        none = np.mean([not own.any() for own in hits])
        print(
            f"PCK@{NEAR} of the trunk, {name}: {value:.3f} ({low:.3f} to {high:.3f}); persons without any: {none:.1%}"
        )
        return value

    def find(images, grow=0.0):
        def of(person):
            x1, y1, x2, y2 = person.region.box
            margin = grow * (y2 - y1)
            box = (x1 - margin, y1 - margin, x2 + margin, y2 + margin)
            return finder.find(images[person.image], [box])[0]

        return of

    others = iter(np.random.default_rng(0).permutation(len(scenes.persons)))
    values = {method: share(method, find(scenes.after[method])) for method in METHODS}
    share("the original in a box grown by 5 %", find(scenes.originals, 0.05))
    chance = share(
        "another person's keypoints in the box",
        lambda person: in_box_of(person, scenes.persons[next(others)]),
    )
    assert values["mannequin"] >= 0.6
    assert values["mannequin"] >= 2 * max(chance, values["inpaint"], values["solid"])


def by_images(scenes, hits):
    """Return a 95 % interval of the share of hits, by bootstrap over photographs."""
    rng = np.random.default_rng(0)
    groups = {}
    for person, own in zip(scenes.persons, hits, strict=True):
        groups.setdefault(person.image, []).append(own)
    sums = np.array([[sum(own.sum() for own in group), sum(map(len, group))] for group in groups.values()])
    drawn = sums[rng.integers(len(sums), size=(2000, len(sums)))].sum(axis=1)
    return np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])


@needs_data(PHOTOS)
def test_a_detector_of_persons_still_finds_them(scenes):
    detector = anonymizer("solid")
    drawn = {(person.image, person.region.index) for person in scenes.persons}
    truths = [
        found.boxes[[at for at in range(len(found)) if (image, at) in drawn]]
        for image, found in enumerate(scenes.found)
    ]
    values = {}
    for name, images in {"original": scenes.originals, **scenes.after}.items():
        again = detector.detect([SourceImage.from_array(str(at), pixels) for at, pixels in enumerate(images)])
        values[name] = average_precision(truths, again)
        print(f"average precision at IoU 0.5 of the drawn persons, {name}: {values[name]:.3f}")
    assert values["mannequin"] >= 0.3 * values["original"]
    assert values["mannequin"] >= 2 * max(values["inpaint"], values["solid"])


def average_precision(truths, found):
    """Return the area under the precision and recall of boxes; boxes that fit a person that was not drawn do not count."""
    hits, scores = [], []
    for boxes, own in zip(truths, found, strict=True):
        left = set(range(len(boxes)))
        overlaps = pairwise_iou(own.boxes, boxes)
        for at in np.argsort(-own.scores, kind="stable"):
            best = max(left, key=lambda index, at=at: overlaps[at, index], default=None)
            hit = best is not None and overlaps[at, best] >= 0.5
            if hit:
                left.discard(best)
            hits.append(hit)
            scores.append(own.scores[at])
    order = np.argsort(-np.array(scores), kind="stable")
    true = np.cumsum(np.array(hits)[order])
    precision = np.maximum.accumulate((true / np.arange(1, len(true) + 1))[::-1])[::-1]
    recall = np.concatenate([[0], true / sum(map(len, truths))])
    return float((np.diff(recall) * precision).sum())


def trunk_mask(shape, person):
    """Return the pixels between shoulders and hips, as the keypoints say: clothes."""
    corners = person.region.keypoints[[SHOULDERS[0], SHOULDERS[1], HIPS[1], HIPS[0]], :2]
    middle = corners.mean(axis=0)
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.rint(middle + 0.7 * (corners - middle)).astype(np.int32), 1)
    return mask > 0


@needs_data(PHOTOS)
def test_the_colour_of_clothes_is_gone(scenes):
    before, after, around, groups = [], {method: [] for method in METHODS}, [], []
    for person in scenes.persons:
        original = scenes.originals[person.image]
        mask = trunk_mask(original.shape, person)
        if mask.sum() < 30:
            continue
        every = union_of_masks([p.region for p in scenes.persons if p.image == person.image], *original.shape[1::-1])
        near = cv2.dilate(every.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool) & ~every
        if not near.any():
            continue
        before.append(original[mask].mean(axis=0))
        around.append(original[near].mean(axis=0))
        groups.append(person.image)
        for method in METHODS:
            after[method].append(scenes.after[method][person.image][mask].mean(axis=0))
    before, groups = np.array(before), np.array(groups)
    print(f"\n{len(before)} persons with visible trunks")
    for name in METHODS:
        hits, expected, count = rank_one_within(before, np.array(after[name]), groups)
        low, high = wilson(hits, count)
        print(
            f"clothes of {count:.0f} persons matched among those of their photograph, {name}: {hits / count:.1%} "
            f"({low:.1%} to {high:.1%}), chance {expected / count:.1%}; "
            f"R2 of a linear probe across photographs: {probe(np.array(after[name]), before, groups):.2f}"
        )
        if name == "mannequin":
            assert low <= expected / count <= high
    print(f"R2 of a linear probe on what surrounds the masks: {probe(np.array(around), before, groups):.2f}")


def rank_one_within(before, after, groups):
    """Return how many originals find the nearest colour of their photograph at their own place, by chance, and of how many."""
    hits = expected = count = 0.0
    for group in np.unique(groups):
        at = np.flatnonzero(groups == group)
        if len(at) < 2:
            continue
        one, two = before[at] - before[at].mean(axis=0), after[at] - after[at].mean(axis=0)
        distance = np.linalg.norm(one[:, None] - two[None], axis=2)
        hits += float(rank_one_hits(-distance, np.arange(len(at))).sum())
        expected, count = expected + 1.0, count + len(at)
    return hits, expected, count


def probe(features, targets, groups):
    """Return the share of the colours' variance that ridge regression explains in photographs that it did not see."""
    predicted = np.empty_like(targets)
    for fold in range(5):
        test = groups % 5 == fold
        x, y = features[~test], targets[~test]
        mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
        z = (x - mean) / deviation
        weights = np.linalg.solve(z.T @ z + 10 * np.eye(z.shape[1]), z.T @ (y - y.mean(axis=0)))
        predicted[test] = (features[test] - mean) / deviation @ weights + y.mean(axis=0)
    return 1 - ((predicted - targets) ** 2).sum() / ((targets - targets.mean(axis=0)) ** 2).sum()


@needs_data(PAIRS)
def test_an_embedder_is_at_chance():
    skip_without_weights(EMBEDDER)
    embedder = load_embedder(RUNTIME.store, str(MODELS / EMBEDDER), 1)
    rows = list(csv.DictReader((PAIRS / "pairs.csv").read_text("utf-8").splitlines()))
    faces = Anonymizer(policy="solid", key=KEY)
    drawer = anonymizer("mannequin")
    features, drawn = {}, 0
    for side in ("neutral", "smiling"):
        sources = [SourceImage.open(row[side], (PAIRS / "images" / row[side]).read_bytes()) for row in rows]
        marks = [own.landmarks[int(own.scores.argmax())] for own in faces.detect(sources)]
        originals = [source.decode().pixels for source in sources]
        features[side] = embedder.embed([Face(*own) for own in zip(originals, marks, strict=True)])
        if side == "smiling":
            outcomes = [drawer.process([source])[0] for source in sources]
            drawn = sum("mannequin" in outcome.result.methods.values() for outcome in outcomes)
            figures = embedder.embed([Face(o.pixels, m) for o, m in zip(outcomes, marks, strict=True)])
    own = np.arange(len(rows))
    plain = rank_one_hits(cosines(features["smiling"], features["neutral"]), own).sum()
    hits = rank_one_hits(cosines(figures, features["neutral"]), own).sum()
    low, high = wilson(hits, len(rows))
    print(f"\nrank-1 of {len(rows)} persons, {drawn} drawn: originals {plain / len(rows):.1%},")
    print(f"mannequins {hits / len(rows):.1%} ({low:.1%} to {high:.1%}), chance {1 / len(rows):.1%}")
    assert plain >= 0.95 * len(rows)
    assert low <= 1 / len(rows) <= high


@needs_data(PHOTOS)
def test_widths_say_no_more_than_the_keypoints(scenes):
    before, after, known = [], [], []
    for person in scenes.persons:
        points, region = person.region.keypoints, person.region
        trunk = np.linalg.norm(points[SHOULDERS, :2].mean(axis=0) - points[HIPS, :2].mean(axis=0))
        row = round(float(0.4 * points[SHOULDERS, 1].mean() + 0.6 * points[HIPS, 1].mean()))
        height, width = scenes.originals[person.image].shape[:2]
        found = scenes.found[person.image].take(np.array([region.index]))
        outline = geometry.region_of(found, 0, width, height, 1.0, "outline")
        mask = union_of_masks([outline], width, height)
        drawing = draw(make_figure(points), (0, 0, width, height)).opacity > 0.5
        if outline.outline is None or not 0 <= row < height or not mask[row].any() or not drawing[row].any():
            continue
        before.append(np.log(mask[row].sum() / trunk))
        after.append(np.log(drawing[row].sum() / trunk))
        known.append(shape_of(points, trunk))
    before, after, known = (np.array(values, np.float64) for values in (before, after, known))
    raw, left = correlation(before, after), correlation(rest(before, known), rest(after, known))
    print(
        f"\nwidth of {len(before)} bodies at the waist, by the trunk's length, original and figure: correlation {say(raw)};"
    )
    print(f"of what the keypoints do not explain: {say(left)}")
    assert abs(left[0]) <= 0.3  # what a linear fit leaves of posture; `test_mannequin` shows that nothing else enters


def shape_of(points, trunk):
    """Return the keypoints of trunk and arms, in units of the trunk about its middle, with their depths."""
    own = points[[*SHOULDERS, *HIPS, *range(13, 17)], :3].astype(np.float64)
    middle = points[[*SHOULDERS, *HIPS], :3].mean(axis=0)
    return ((own - middle) / trunk).ravel()


def rest(values, known):
    """Return what ridge regression on keypoints and their absolute values leaves of values in persons that it did not see."""
    features = np.concatenate([known, np.abs(known)], axis=1)
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    left = np.empty_like(values)
    for fold in range(10):
        test = np.arange(len(values)) % 10 == fold
        x, y = features[~test], values[~test]
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
        left[test] = values[test] - y.mean() - features[test] @ weights
    return left


def correlation(a, b):
    """Return Pearson's correlation with its 95 % interval by Fisher's transform."""
    value = float(np.corrcoef(a, b)[0, 1])
    margin = 1.96 / np.sqrt(len(a) - 3)
    return value, float(np.tanh(np.arctanh(value) - margin)), float(np.tanh(np.arctanh(value) + margin))


def say(value):
    return f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"
