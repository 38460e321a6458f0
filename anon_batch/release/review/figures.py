"""What a review proves, as public figures: numbers alone, nothing about a single image."""

from __future__ import annotations

import statistics
from collections import Counter

from anon_batch import __version__
from anon_batch.formats.evidence_json import Evidence, Table
from anon_batch.formats.evidence_json import Sample as SampleOf
from anon_batch.formats.run_json import now
from anon_batch.formats.verdicts_json import Verdict, Verdicts
from anon_batch.release.review.combine import Combined
from anon_batch.release.review.draw import CONFIDENCE, Sample
from anon_batch.stats.exact import clopper_pearson
from anon_batch.stats.figure import Figure
from anon_batch.stats.sample_plan import corrected_bound, missed_bound
from anon_batch.units import format_counted

_UNIT = "outputs"
_OF_MEASURED = "of a reviewer who judged planted faces"


def review_evidence(sample: Sample, combined: Combined, stats_sha256: str) -> Evidence:
    """Return the content of review.json.

    A sampled output that nobody judged counts as missed, so that the bound holds whenever a reviewer stops.
    """
    marks = Counter(own.mark for own in combined.verdicts.values())
    judged = len(combined.verdicts)
    missed = _missed(sample, combined)
    figures = {
        "review.missed": missed,
        "review.missed_by_perfect_reviewer": _uncorrected(sample, combined),
        "review.catch_rate": _catch_rate(combined),
        "review.ugly": _share(marks["ugly"], judged),
        "review.wrong_region": _share(marks["wrong_region"], judged),
        "review.claim": Figure(sample.settings.claim, n=judged, unit=_UNIT, note=_claim_note(sample, combined, missed)),
        "review.proven": Figure(float(is_proven(sample, missed)), note="1 if the claim is proven, else 0"),
        "review.reviewers": Figure(float(len(combined.reviewers)), note="number of reviewers"),
        "review.kappa": combined.kappa,
        "review.seconds": _seconds(combined),
    }
    return Evidence(
        run_id=sample.run_id,
        created_at=now(),
        tool_version=__version__,
        stats_sha256=stats_sha256,
        sample=SampleOf(judged, sample.outputs_count, sample.settings.seed),
        figures=figures,
        tables={"review.strata": _strata(sample, combined)},
    )


def private_verdicts(sample: Sample, combined: Combined) -> Verdicts:
    """Return the verdicts on single images, with what was found beside planted faces."""
    own = {**combined.extra, **combined.verdicts}
    for name in combined.extra.keys() & combined.verdicts.keys():
        one, other = combined.verdicts[name], combined.extra[name]
        own[name] = Verdict(name, "missed", tuple(dict.fromkeys((*one.boxes, *other.boxes))))
    return Verdicts(
        sample.run_id,
        combined.review_id or sample.sha256[:16],
        sample.sha256,
        now(),
        __version__,
        tuple(name for name in combined.reviewers if name),
        tuple(own[name] for name in sorted(own)),
    )


def is_proven(sample: Sample, missed: Figure) -> bool:
    """Return whether the bound of `review.missed` is within the claim."""
    return missed.high is not None and missed.high <= sample.settings.claim


def _missed(sample: Sample, combined: Combined) -> Figure:
    found, unjudged = _counts(sample, combined)
    plan = sample.plan
    high = corrected_bound(found + unjudged, plan.images, combined.caught, combined.planted, plan.strata, CONFIDENCE)
    note = f"one-sided upper bound at {100 * CONFIDENCE:g} %, exact, corrected by the reviewers' catch rate"
    note += ", as far as planted faces are no easier to see than missed ones"
    if not combined.planted:
        note += "; no faces were planted, so nothing is known about the reviewers and nothing is bounded"
    if unjudged:
        note += f"; {format_counted(unjudged, 'sampled output')} without a verdict"
        note += f" {_OF_MEASURED}" if combined.unmeasured else ""
        note += " count as missed"
    judged = len(combined.verdicts)
    return Figure(found / judged, high=high, n=judged, unit=_UNIT, note=note)


def _uncorrected(sample: Sample, combined: Combined) -> Figure:
    found, unjudged = _counts(sample, combined)
    high = missed_bound(found + unjudged, sample.plan.images, sample.plan.strata, CONFIDENCE)
    judged = len(combined.verdicts)
    note = f"one-sided upper bound at {100 * CONFIDENCE:g} % for reviewers who see everything; proves nothing by itself"
    return Figure(found / judged, high=high, n=judged, unit=_UNIT, note=note)


def _counts(sample: Sample, combined: Combined) -> tuple[int, int]:
    """Return the outputs in which something was missed, and those without a verdict that the catch rate speaks for."""
    found = sum(own.mark == "missed" for own in combined.verdicts.values())
    return found, len(sample.outputs) - len(combined.verdicts) + len(combined.unmeasured)


def _catch_rate(combined: Combined) -> Figure:
    if not combined.planted:
        return Figure.missing("no faces were planted: these verdicts do not come from the page of `anon-batch review`")
    low, high = clopper_pearson(combined.caught, combined.planted) or (0.0, 1.0)
    note = "planted synthetic faces that were found; Clopper-Pearson interval"
    return Figure(combined.caught / combined.planted, low, high, combined.planted, "planted faces", note)


def _share(hits: int, judged: int) -> Figure:
    low, high = clopper_pearson(hits, judged) or (0.0, 1.0)
    return Figure(hits / judged, low, high, judged, _UNIT, "Clopper-Pearson interval")


def _claim_note(sample: Sample, combined: Combined, missed: Figure) -> str:
    claim = f"at most {100 * sample.settings.claim:g} % of the outputs show something that was missed"
    if is_proven(sample, missed):
        return f"proven: {claim}"
    found, unjudged = _counts(sample, combined)
    if unjudged:
        why = f"{format_counted(unjudged, 'sampled output')} without a verdict"
        why += f" {_OF_MEASURED}" if combined.unmeasured else ""
    elif found > sample.plan.missed:
        why = f"something was missed in {format_counted(found, 'output')}, the plan allowed {sample.plan.missed}"
    elif not combined.planted:
        why = "no planted faces, so nothing is known about the reviewers"
    else:
        why = f"{combined.planted - combined.caught} planted faces were not found, the plan allowed {sample.plan.uncaught}"
    return f"not proven that {claim}: {why}"


def _seconds(combined: Combined) -> Figure:
    if not combined.seconds:
        return Figure.missing("these verdicts do not say how long they took")
    return Figure(statistics.median(combined.seconds), n=len(combined.seconds), unit="verdicts", note="median, seconds")


def _strata(sample: Sample, combined: Combined) -> Table:
    # No count of what was found, because a stratum with one image would point at it.
    judged = Counter(sample.plan.stratum(own.stratum) for own in sample.outputs if own.image_id in combined.verdicts)
    rows = tuple((name, number, judged[name]) for name, number in sorted(sample.plan.strata.items()))
    return Table("Outputs of the release and outputs reviewed", ("stratum", "outputs", "reviewed"), rows)
