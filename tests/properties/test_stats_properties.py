"""Merging statistics is associative and commutative and has an identity; JSON keeps them exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.records import Detections, GroundTruth, Preview
from anon_batch.stats import ShardStats, judge_regions, match, merge, merge_all, summarise
from anon_batch.stats.label import MAX_LABELS
from anon_batch.stats.matching import BANDS

COORDINATES = st.integers(0, 60).map(float)
BOXES = st.lists(
    st.tuples(COORDINATES, COORDINATES, st.integers(1, 120), st.integers(1, 120)).map(
        lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
    ),
    max_size=4,
)


PREVIEW = Preview("a", np.full((130, 130, 3), 70, np.uint8))

# More labels than are kept, so that the cap is at work in parts and in the whole.
LABELS = st.sampled_from(["face", "plate", "other", *(f"l{number:02d}" for number in range(40))])


@st.composite
def found(draw):
    boxes = draw(BOXES)
    n = len(boxes)
    scores = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), min_size=n, max_size=n))
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
        tuple(draw(st.lists(LABELS, min_size=n, max_size=n))),
    )


@st.composite
def truths(draw):
    boxes = draw(BOXES)
    flags = draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    labels = tuple(draw(st.lists(LABELS, min_size=len(boxes), max_size=len(boxes))))
    return GroundTruth(np.array(boxes, np.float32).reshape(len(boxes), 4), np.array(flags, bool), labels)


@st.composite
def stats(draw):
    out = ShardStats()
    for _ in range(draw(st.integers(0, 3))):
        status = draw(st.sampled_from(["anonymized", "clean", "withheld", "failed"]))
        # More reasons than are kept, so that the cap is at work in parts and in the whole.
        first = draw(st.integers(0, 200))
        for reason in range(first, first + draw(st.integers(0, 50))):
            out.add_row("failed", f"r{reason}")
        many = draw(st.none() | st.lists(found(), min_size=1, max_size=6).map(Detections.merge))
        indices = st.integers(0, max(len(many or ()) - 1, 0))
        reason, truth = draw(st.none() | st.sampled_from(["decode", "other"])), draw(st.none() | truths())
        out.add_row(
            status,
            reason,
            many,
            truth,
            labelled=None if truth is None or reason else judge_regions(truth, (), many or Detections.empty(), PREVIEW),
            slices=draw(st.dictionaries(st.sampled_from(["slice_a", "slice_b"]), LABELS)),
            methods=draw(st.dictionaries(indices, st.sampled_from("abc"))) if many else {},
            kept=draw(st.sets(indices)) if many else (),
            bytes_in=draw(st.integers(0, 2**50)),
            bytes_out=draw(st.integers(0, 2**50)),
        )
        out.add_checks(
            draw(st.dictionaries(st.sampled_from("st"), st.dictionaries(st.sampled_from("pf"), st.integers(1, 9))))
        )
        out.add_seconds(draw(st.sampled_from("xyz")), draw(st.floats(0, 1e6)), draw(st.floats(0, 1e6)))
        out.add_worker(draw(st.dictionaries(st.sampled_from("uvw"), st.floats(0, 1e6))), draw(st.floats(0, 1e6)))
    return out


@settings(deadline=None, max_examples=60)
@given(stats(), stats(), stats())
def test_merge_is_associative_and_commutative(a, b, c):
    copies = [ShardStats.from_json(x.to_json()) for x in (a, b, c)]
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge_all([a, b, c]) == merge_all([c, a, b])
    assert [a, b, c] == copies  # and changes none of its arguments


@settings(deadline=None, max_examples=60)
@given(stats())
def test_the_empty_state_is_the_identity(a):
    assert merge(a, ShardStats()) == a
    assert merge(ShardStats(), a) == a


@settings(deadline=None, max_examples=60)
@given(stats(), stats())
def test_the_public_statistics_merge_alike_and_hold_no_labelled_face(a, b):
    assert merge(a.public(), b.public()) == merge(a, b).public()
    assert a.public().public() == a.public()
    assert a.public().has_ground_truth == a.has_ground_truth
    assert a.public().missed.groups == a.public().missed.slices == a.public().detection.labels == {}


@settings(deadline=None, max_examples=60)
@given(stats())
def test_json_round_trip_is_exact(a):
    assert ShardStats.from_json(a.to_json()) == a
    assert ShardStats.from_json(a.to_json()).to_json() == a.to_json()


@settings(deadline=None, max_examples=60)
@given(stats(), stats())
def test_rows_are_conserved(a, b):
    total = merge(a, b)
    assert total.rows == a.rows + b.rows == sum(total.statuses.values())
    assert sum(total.reasons.values()) == sum(a.reasons.values()) + sum(b.reasons.values())


@settings(deadline=None)
@given(found(), truths(), st.sampled_from(sorted(BANDS)))
def test_each_detection_and_each_region_counts_at_most_once(detections, truth, band):
    matches = match(detections, truth, band)
    counted = matches.true_positives.astype(int) + matches.false_positives + matches.detection_ignored
    assert (counted == 1).all()
    assert matches.true_positives.sum() + matches.missed.sum() == (~matches.region_ignored).sum()
    taken = matches.detection_region[matches.true_positives]
    assert len(set(taken.tolist())) == len(taken)
    assert (matches.iou[matches.detection_region >= 0] >= 0.5 - 1e-6).all()


@settings(deadline=None, max_examples=60)
@given(stats(), stats())
def test_labels_add_up_to_all_detections(a, b):
    total = summarise(merge(a, b))
    for figure in ("detections", "regions_anonymized", "regions_kept"):
        assert sum(own[figure] for own in total["labels"].values()) == total[figure]
        assert summarise(a)[figure] + summarise(b)[figure] == total[figure]
    assert len(total["labels"]) <= MAX_LABELS + 1
