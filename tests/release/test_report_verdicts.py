"""Verdict, answers and statement: computed from gates, measures and methods."""

from __future__ import annotations

import pytest

from anon_batch.config import GatesConfig
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.release.report.measures import Measures
from anon_batch.release.report.questions import answer_all
from anon_batch.release.report.verdicts import judge_gates, judge_whole
from anon_batch.release.verdict import Verdict
from anon_batch.stats.figure import Figure

PASSED = GateResult("missed", "at_most", 0.01, 0.0, True, "0 of 900 faces")
NO_MATTER = GateResult("withheld", "at_most", 0.01, 0.0, True, "0 of 9 rows")
EXCEEDED = GateResult("missed", "at_most", 0.01, 0.02, False, "2 of 100 regions")
UNMEASURED = GateResult("ap_kept", "at_least", 0.9, None, False, "not measured: `x` measures it")


def verdict(faults: int) -> Verdict:
    return Verdict("run", "0" * 64, "2026-03-05T12:00:00+00:00", 9, 9, 8, faults, True)


@pytest.mark.parametrize(
    ("results", "faults", "state", "text"),
    [
        ((PASSED,), None, "good", "The limit that the job set was kept."),
        ((PASSED, NO_MATTER), 0, "good", "All 2 limits that the job set were kept."),
        ((NO_MATTER,), 0, "open", "The limit that the job set was kept."),
        ((PASSED, EXCEEDED), 0, "bad", "This release is not within the limits that its job set."),
        ((UNMEASURED,), 0, "bad", "This release is not within the limits that its job set."),
        ((), 0, "open", "This job set no limits, so there is nothing to judge this release by."),
        ((PASSED,), 1, "bad", "This release is damaged or incomplete. Do not publish it."),
        ((), 2, "bad", "This release is damaged or incomplete. Do not publish it."),
    ],
)
def test_the_whole_is_good_only_if_every_limit_was_kept(
    results: tuple[GateResult, ...], faults: int | None, state: str, text: str
) -> None:
    found = judge_whole(judge_gates(Gates(results)), None if faults is None else verdict(faults))
    assert (found.state, found.text) == (state, text)


def test_the_verdict_says_what_no_limit_is_about() -> None:
    [*_, last] = judge_whole(judge_gates(Gates((NO_MATTER, UNMEASURED))), None).sentences
    assert last.startswith("No limit is set on missed faces and recognition: ")


def test_other_labels_are_asked_for_by_name() -> None:
    share = Figure(0.25, 0.1, 0.5, 40, "labelled number plates in published images")
    figures = {"missed.from_16_px": Figure(0.0, 0.0, 0.1, 30, "labelled faces"), "missed.label.licence_plate": share}
    missed, *_ = answer_all(Measures(figures), ())
    assert missed.question == "Were faces or number plates missed?"
    assert any(text.startswith("Labelled number plates from 16 px left uncovered: 25.0") for text in missed.sentences)
    faces, *_ = answer_all(Measures({"missed.label.face": share}), ())
    assert faces.question == "Were faces missed?"


def test_every_gate_of_the_job_file_has_its_words() -> None:
    for name in GatesConfig.model_fields:
        for value in (0.5, None):
            [judged] = judge_gates(Gates((GateResult(name, "at_most", 0.1, value, False),)))
            assert "the figure of that name" not in judged.says, name
            assert judged.advice


def test_a_gate_that_this_version_does_not_know_is_shown() -> None:
    [judged] = judge_gates(Gates((GateResult("mood", "at_least", 0.5, 0.4, False, "a note"),)))
    assert (judged.says, judged.outcome) == ("At least 50\xa0%: the figure of that name below.", "exceeded")


def test_an_answer_leads_with_the_worse_of_review_and_ground_truth() -> None:
    better, worse = Figure(0.0, None, 0.01, 299, "images"), Figure(0.1, 0.05, 0.2, 100, "faces")
    for names in (("review.missed", "missed.from_16_px"), ("missed.from_16_px", "review.missed")):
        measures = Measures({names[0]: better, names[1]: worse})
        assert answer_all(measures, ())[0].figures[0].name == names[1]


def test_an_answer_leads_with_the_scene_that_gives_away_more() -> None:
    face, whole = Figure(0.04, 0.01, 0.1, 51, "persons"), Figure(0.2, 0.1, 0.3, 51, "persons")
    measures = Measures({"reidentification.rank_1": face, "reidentification.whole_image.rank_1": whole})
    assert "From the whole image" in answer_all(measures, ())[1].sentences[0]


def test_capture_and_recapture_alone_is_no_pass() -> None:
    measures = Measures({"missed.at_least": Figure(0.002, 0.001, None, 900, "detections")})
    answer = answer_all(measures, judge_gates(Gates((NO_MATTER,))))[0]
    assert answer.state != "good"
    assert "at least 0.20\xa0% are missed" in answer.sentences[0]
    assert "may be far more" in answer.sentences[0]


def test_an_answer_without_a_measure_says_how_to_get_one_and_why_there_is_none() -> None:
    answers = answer_all(Measures({"utility.ap_kept": Figure.missing("the detector is not installed")}), ())
    assert [answer.state for answer in answers] == ["open"] * 3
    assert "`anon-batch review OUTPUT`" in answers[0].sentences[0]
    assert "`anon-batch evaluate OUTPUT`" in answers[1].sentences[0]
    assert answers[2].sentences[1] == "Reason: the detector is not installed."


def test_an_exceeded_limit_shows_at_its_question() -> None:
    answers = answer_all(Measures({"missed.all": Figure(0.02, 0.01, 0.03)}), judge_gates(Gates((EXCEEDED, UNMEASURED))))
    assert [answer.chip for answer in answers] == ["limit exceeded", "not measured", "not measured"]
