"""Verdicts of several reviewers, and what they prove."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_releases import Made

from anon_batch.errors import ConfigError
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.verdicts_json import MARKS, DrawnBox, Mark
from anon_batch.release.review.agreement import cohens_kappa
from anon_batch.release.review.combine import combine
from anon_batch.release.review.draw import ReviewSettings, Sample, draw_sample
from anon_batch.release.review.figures import private_verdicts, review_evidence
from anon_batch.release.review.judgements import Judgement, ReviewerFile
from anon_batch.stats.sample_plan import corrected_bound, missed_bound

FACE = (10.0, 10.0, 30.0, 30.0)
HIT, BESIDE = DrawnBox(12, 12, 28, 28), DrawnBox(60, 60, 80, 80)


@pytest.fixture
def sample(made: Callable[[str], Made]) -> Sample:
    return draw_sample(made("files").release, ReviewSettings(claim=0.2, allow_uncaught=1))


def file_of(
    sample: Sample,
    name: str = "Ada",
    marks: Mapping[int, Mark] | None = None,
    uncaught: int = 0,
    first: int | None = None,
) -> ReviewerFile:
    """Return a file that judges the sample (its first images), `marks` by position, and all planted faces but `uncaught`."""
    chosen = {
        own.image_id: Judgement((marks or {}).get(i, "fine"), (), 2.0) for i, own in enumerate(sample.outputs[:first])
    }
    planted = {100 + i: (sample.spare[0].image_id, FACE) for i in range(sample.plan.planted)}
    seen = {i: Judgement("fine" if at < uncaught else "missed", (), 2.0) for at, i in enumerate(planted)}
    return ReviewerFile(name, "0123456789abcdef", chosen, planted, seen)


def evidence(sample: Sample, *files: ReviewerFile) -> Evidence:
    found = review_evidence(sample, combine(files), "ab" * 32)
    assert Evidence.from_json(found.to_json(), "review.json") == found
    return found


def test_a_clean_review_proves_the_claim(sample: Sample) -> None:
    plan, figures = sample.plan, evidence(sample, file_of(sample)).figures
    missed = figures["review.missed"]
    assert (missed.value, missed.n) == (0.0, plan.total)
    assert missed.high == corrected_bound(0, plan.images, plan.planted, plan.planted, plan.strata) <= 0.2
    assert figures["review.missed_by_perfect_reviewer"].high == missed_bound(0, plan.images, plan.strata)
    assert figures["review.proven"].value == 1
    assert figures["review.claim"].note.startswith("proven: at most 20 %")
    assert figures["review.catch_rate"].value == 1
    assert figures["review.seconds"].value == 2.0


@pytest.mark.parametrize(
    ("marks", "uncaught", "first", "why"),
    [
        ({3: "missed"}, 0, None, "something was missed in 1 output"),
        ({}, 2, None, "2 planted faces were not found"),
        ({}, 0, -3, "3 sampled outputs without a verdict"),
    ],
)
def test_what_was_missed_not_caught_or_not_judged_refutes_the_claim(
    sample: Sample, marks: dict[int, Mark], uncaught: int, first: int | None, why: str
) -> None:
    plan, figures = sample.plan, evidence(sample, file_of(sample, "Ada", marks, uncaught, first)).figures
    unjudged = 3 if first else 0
    expected = corrected_bound(len(marks) + unjudged, plan.images, plan.planted - uncaught, plan.planted, plan.strata)
    assert figures["review.missed"].high == expected > 0.2
    assert figures["review.proven"].value == 0
    assert why in figures["review.claim"].note


def test_the_plan_allows_what_it_was_asked_to_allow(sample: Sample) -> None:
    assert evidence(sample, file_of(sample, uncaught=1)).figures["review.proven"].value == 1


def test_without_planted_faces_nothing_is_proven(sample: Sample) -> None:
    own = ReviewerFile("", "", {output.image_id: Judgement("fine") for output in sample.outputs})
    figures = evidence(sample, own).figures
    assert figures["review.missed"].high == 1
    assert figures["review.catch_rate"].value is None
    assert "nothing is known about the reviewers" in figures["review.claim"].note


def test_a_catch_rate_speaks_for_nobody_who_saw_no_planted_face(sample: Sample) -> None:
    ids = [own.image_id for own in sample.outputs]
    unseen = ReviewerFile("", "", {name: Judgement("fine") for name in ids})  # as a COCO file that nobody opened
    plants_alone = file_of(sample, first=0)
    figures = evidence(sample, plants_alone, unseen).figures
    assert figures["review.missed"].high == 1
    assert figures["review.proven"].value == 0
    assert f"{len(ids)} sampled outputs without a verdict of a reviewer who" in figures["review.claim"].note
    assert len(private_verdicts(sample, combine([plants_alone, unseen])).verdicts) == len(ids)
    assert evidence(sample, file_of(sample), unseen).figures["review.proven"].value == 1
    found = ReviewerFile("", "", {ids[0]: Judgement("missed", (HIT,))})
    assert evidence(sample, file_of(sample), found).figures["review.proven"].value == 0


def test_the_worst_verdict_counts_and_boxes_of_one_thing_become_one(sample: Sample) -> None:
    name = sample.outputs[0].image_id
    drawn = [
        DrawnBox(10, 10, 30, 30),
        DrawnBox(12, 11, 32, 30),
        DrawnBox(60, 10, 80, 30),
        DrawnBox(10, 10, 30, 30, "plate"),
    ]
    files = [
        ReviewerFile("Ada", "", {name: Judgement("ugly")}),
        ReviewerFile("Bob", "", {name: Judgement("missed", (drawn[0], drawn[2]))}),
        ReviewerFile("Cleo", "", {name: Judgement("missed", (drawn[1], drawn[3]))}),
    ]
    verdict = combine(files).verdicts[name]
    assert verdict.mark == "missed"
    assert verdict.boxes == (DrawnBox(10, 10, 32, 30), drawn[2], drawn[3])


def test_a_planted_face_counts_as_caught_if_everybody_who_saw_it_caught_it(sample: Sample) -> None:
    planted = sample.plan.planted
    assert combine([file_of(sample, "Ada"), file_of(sample, "Bob", uncaught=2)]).caught == planted - 2
    one = file_of(sample)
    aside = {index: Judgement("missed", (BESIDE,)) for index in one.judged_plants}
    hits = {index: Judgement("missed", (BESIDE, HIT)) for index in one.judged_plants}
    for verdicts, expected in ((aside, 0), (hits, planted), ({}, 0)):
        own = ReviewerFile("Ada", one.review_id, one.judged, one.planted, verdicts)
        assert combine([own]).caught == expected


def test_faces_found_beside_planted_ones_are_kept_and_count_for_nothing(sample: Sample) -> None:
    one = file_of(sample)
    found = {index: Judgement("missed", (HIT, BESIDE)) for index in one.judged_plants}
    combined = combine([ReviewerFile("Ada", one.review_id, one.judged, one.planted, found)])
    assert review_evidence(sample, combined, "").figures["review.missed"].value == 0
    kept = {own.image_id: own for own in private_verdicts(sample, combined).verdicts}
    assert kept[sample.spare[0].image_id].boxes == (BESIDE,)
    assert len(kept) == len(sample.outputs) + 1


def test_parts_of_one_reviewer_are_put_together_and_a_second_one_measures_agreement(sample: Sample) -> None:
    ids = [own.image_id for own in sample.outputs]
    parts = [ReviewerFile("Ada", "", {name: Judgement("fine")}) for name in ids]
    combined = combine(parts)
    assert (combined.reviewers, len(combined.verdicts)) == (("Ada",), len(ids))
    assert combined.kappa.value is None
    second = ReviewerFile("Bob", "", {name: Judgement("ugly" if i == 0 else "fine") for i, name in enumerate(ids)})
    third = file_of(sample, "Cleo", {0: "ugly", 1: "missed"})
    assert combine([*parts, second]).kappa.value == pytest.approx(0)
    assert combine([second, third]).kappa.value == pytest.approx(0.65, abs=0.05)


def test_files_of_different_reviews_are_refused(sample: Sample) -> None:
    one = file_of(sample)
    other = ReviewerFile("Bob", "f" * 16, one.judged, one.planted, one.judged_plants)
    with pytest.raises(ConfigError, match="2 different reviews"):
        combine([one, other])


def test_public_figures_say_nothing_about_an_image(sample: Sample) -> None:
    text = evidence(sample, file_of(sample, marks={0: "missed"})).to_json().decode()
    assert not any(own.image_id in text for own in (*sample.outputs, *sample.spare))
    assert "Ada" not in text
    assert sample.sha256 not in text


def test_kappa_is_cohens() -> None:
    # By hand: agreement 0.7, by chance 0.6 x 0.5 + 0.3 x 0.3 + 0.1 x 0.2 = 0.41; error sqrt(0.7 x 0.3 / 200) / 0.59 = 0.0549.
    table = {(0, 0): 88, (0, 1): 14, (0, 2): 18, (1, 0): 10, (1, 1): 40, (1, 2): 10, (2, 0): 2, (2, 1): 6, (2, 2): 12}
    pairs = [pair for pair, count in table.items() for _ in range(count)]
    kappa = cohens_kappa([a for a, _ in pairs], [b for _, b in pairs], "cases")
    assert kappa.value == pytest.approx(0.29 / 0.59)
    assert (kappa.low, kappa.high) == pytest.approx((0.3839, 0.5992), abs=1e-3)


@given(st.lists(st.tuples(st.sampled_from(MARKS), st.sampled_from(MARKS)), max_size=30))
def test_kappa_is_symmetric_and_at_most_one(pairs: list[tuple[Mark, Mark]]) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    kappa = cohens_kappa(one, other, "cases")
    assert kappa == cohens_kappa(other, one, "cases") or kappa.value == pytest.approx(
        cohens_kappa(other, one, "cases").value
    )
    if kappa.value is not None:
        assert kappa.value <= 1
        assert (kappa.value == pytest.approx(1)) == (one == other)
