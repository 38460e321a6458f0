"""States of a release's measures: exact merges, the division into tasks, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.evaluate.release import residual
from anon_batch.evaluate.release.meter import precision_of
from anon_batch.evaluate.release.precision import PrecisionState
from anon_batch.evaluate.release.residual import ResidualState, uncovered
from anon_batch.evaluate.release.rows import MeasuredRow
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.tasks import Task, divide
from anon_batch.records import Detections, GroundTruth, ShardSpec


def found(boxes: list[tuple[float, float, float, float]], scores: list[float]) -> Detections:
    n = len(boxes)
    nowhere = np.full((n, 5, 2), np.nan, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(n, 4), np.array(scores, np.float32), nowhere, ("x",) * n)


BOXES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
        lambda at: (at[0] * 10, at[1] * 10, at[0] * 10 + 9, at[1] * 10 + 8)
    ),
    max_size=4,
    unique=True,
)


@st.composite
def precision_states(draw: st.DrawFn) -> PrecisionState:
    boxes, labelled, again = draw(BOXES), draw(BOXES), draw(BOXES)
    scores = st.floats(0, 1, width=32)
    truth = GroundTruth(np.array(labelled, np.float32).reshape(-1, 4), np.zeros(len(labelled), np.bool_))
    first = found(boxes, draw(st.lists(scores, min_size=len(boxes), max_size=len(boxes))))
    last = found(again, draw(st.lists(scores, min_size=len(again), max_size=len(again))))
    row = MeasuredRow(
        str(draw(st.integers(0, 99))),
        "anonymized",
        np.zeros((0, 4), np.float32),
        None,
        None,
        "",
        truth if draw(st.booleans()) else None,
        first,
        np.ones(len(boxes), np.bool_),
        {},
    )
    return precision_of(row, first, draw(st.sampled_from([last, None])), 3)


RESIDUALS = st.builds(
    lambda status, boxes, scores: residual.of_image(
        status, found(boxes, scores[: len(boxes)]), np.array([[0, 0, 9, 9]], np.float32)
    ),
    st.sampled_from(["anonymized", "clean"]),
    BOXES,
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
RELEASES = st.builds(
    lambda precision, left, reason: ReleaseState({"clean": 1}, {reason: 1} if reason else {}, {}, precision, left),
    precision_states(),
    RESIDUALS,
    st.sampled_from(["", "source_changed", "source_not_found"]),
)


@settings(max_examples=40, deadline=None)
@given(RELEASES, RELEASES, RELEASES)
def test_merge_is_associative_and_commutative_with_the_empty_state(
    a: ReleaseState, b: ReleaseState, c: ReleaseState
) -> None:
    assert numbers(a.merge(b).merge(c)) == numbers(a.merge(b.merge(c)))
    assert numbers(a.merge(b)) == numbers(b.merge(a))
    assert numbers(ReleaseState().merge(a)) == numbers(a) == numbers(a.merge(ReleaseState()))


def numbers(state: ReleaseState) -> tuple[object, ...]:
    """Everything but `utility`, whose laws its own tests prove."""
    return state.statuses, state.unread, state.unmeasured, state.precision, state.residual


SHARDS = st.lists(st.lists(st.integers(0, 30), max_size=20, unique=True).map(sorted), max_size=8)


@given(SHARDS, st.integers(1, 40))
def test_tasks_hold_every_row_once_and_not_more_than_asked_for(sampled: list[list[int]], rows: int) -> None:
    shards = [(ShardSpec(at * 31, 31), offsets) for at, offsets in enumerate(sampled)]
    tasks = list(divide(shards, rows))
    assert all(0 < task.rows_count <= rows for task in tasks)
    assert _rows(tasks) == [(spec, offset) for spec, offsets in shards for offset in offsets]
    halves = [half for task in tasks for half in task.halves()]
    assert _rows(halves) == _rows(tasks)
    assert all(half.rows_count <= (task.rows_count + 1) // 2 for task in tasks for half in task.halves())


def _rows(tasks: list[Task]) -> list[tuple[ShardSpec, int]]:
    return [(spec, offset) for task in tasks for spec, offsets in task.parts for offset in offsets]


@pytest.mark.parametrize(
    ("box", "covered"),
    [
        ((10, 10, 20, 20), True),
        ((4, 10, 15, 20), False),  # the centre lies outside
        ((8, 10, 18, 20), True),
        ((40, 40, 50, 50), False),
        ((9.6, 9.6, 10.2, 10.2), False),  # less than a pixel, mostly outside
        ((-5, 10, 30, 30), False),
    ],
)
def test_a_detection_is_covered_by_its_centre_and_half_of_it(
    box: tuple[float, float, float, float], covered: bool
) -> None:
    regions = np.array([[10, 10, 20, 20], [60, 60, 70, 70]], np.float32)
    assert uncovered(np.array([box], np.float32), regions).tolist() == [not covered]


def test_two_regions_cover_a_detection_together_and_none_covers_nothing() -> None:
    box = np.array([[10, 10, 20, 20]], np.float32)
    assert uncovered(box, np.array([[8, 8, 16, 22], [15, 8, 22, 22]], np.float32)).tolist() == [False]
    assert uncovered(box, np.zeros((0, 4), np.float32)).tolist() == [True]


def test_residual_is_a_share_of_images_by_the_highest_score() -> None:
    nothing = np.zeros((0, 4), np.float32)
    images = [
        residual.of_image("clean", found([(0, 0, 9, 9), (20, 0, 29, 9)], [0.2, 0.95]), nothing),
        residual.of_image("anonymized", found([(0, 0, 9, 9)], [0.4]), nothing),
        residual.of_image("anonymized", found([(0, 0, 9, 9)], [0.9]), np.array([[0, 0, 9, 9]], np.float32)),
        residual.of_image("clean", found([], []), nothing),
    ]
    state = ResidualState()
    for own in images:
        state = state.merge(own)
    findings = state.findings()
    figure = findings.figures["residual.after"]
    assert (figure.value, figure.n) == (0.25, 4)  # from a score of 0.5
    assert figure.low is not None
    assert figure.low < 0.25 < (figure.high or 0)
    assert [row[1] for row in findings.tables["residual.after"].rows] == [2, 2, 1, 1, 1]
    assert ResidualState().findings().figures["residual.after"].value is None
