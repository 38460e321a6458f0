"""What `anon-batch link` says, as lines and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anon_batch.recognition.impostors import Expected
from anon_batch.release.link.index import FaceIndex, Place
from anon_batch.release.link.search import TOO_FEW, Comparison, Scored, Search
from anon_batch.release.link.virtual import RecognisedDonor
from anon_batch.units import format_counted

_SHOWN = 100
_WHY = {"small": "too small", "no landmarks": "without landmarks"}


class Answer(NamedTuple):
    """An answer.

    Args:
        lines: to print.
        values: JSON values of the same.
        outcome: for the access log.
        places: the faces that it names, for the access log.
    """

    lines: Sequence[str]
    values: Mapping[str, Any]
    outcome: str
    places: Sequence[Place]


def of_search(index: FaceIndex, found: Search, max_false_hits: float) -> Answer:
    """Return the answer to a search."""
    hits = found.hits
    lines = [*_about(index), *_threshold(found, max_false_hits)]
    lines += [f"hit        {own.score:.3f}  {own.place.name}" for own in hits[:_SHOWN]]
    if len(hits) > _SHOWN:
        lines.append(f"           {len(hits) - _SHOWN:,} more; --json shows all")
    below = found.ranked[len(hits)] if len(found.ranked) > len(hits) else None
    if found.threshold is not None and not hits:
        lines.append("hit        none")
    if below is not None:
        name = "next" if hits else "best"
        lines.append(f"{name:<10} {below.score:.3f}  {below.place.name}{'' if found.threshold is None else ', no hit'}")
    if found.margin is not None:
        lines.append(f"margin     the first leads the second by {found.margin:.3f}")
    shown = hits if found.threshold is not None else found.ranked[:_SHOWN]
    values = {
        "faces": len(index.faces),
        "images": index.images,
        "not_in_the_index": index.missing(),
        "max_false_hits": max_false_hits,
        "threshold": _rounded(found.threshold),
        "undecided": found.undecided,
        "expected_false_hits": _interval(found.expected),
        "ranked": [_scored(own, "hit" if own in hits else "undecided") for own in shown],
        "best_below": None if below is None or found.threshold is None else _scored(below, "no hit"),
        "margin": _rounded(found.margin),
    }
    return Answer(lines, values, f"{len(hits)} hits among {len(index.faces)} faces", [own.place for own in hits])


def of_comparison(found: Comparison, max_false_rate: float) -> Answer:
    """Return the answer to a comparison with one region."""
    lines = [f"compared   {found.scored.score:.3f}  {found.scored.place.name}", f"same       {_verdict(found)}"]
    if found.chance is not None:
        chance = _probability(found.chance)
        lines.append(
            f"chance     that somebody else scores so much: {chance}; up to {max_false_rate:g} counts as the same"
        )
    values = {**_compared(found), "max_false_rate": max_false_rate}
    return Answer(lines, values, f"compared: {_verdict(found)}", [found.scored.place])


def of_virtual(
    index: FaceIndex,
    donor: RecognisedDonor,
    persons: Mapping[str, Sequence[Place]],
    compared: Sequence[Comparison] | None,
) -> Answer:
    """Return the answer about a published face: whose it may be, and which of them the photograph shows."""
    sure = "" if donor.is_sure else ", which may be an accident"
    lines = [f"donor      recognised with similarity {donor.score:.3f}, the next one {donor.next_score:.3f}{sure}"]
    lines.append(f"persons    {format_counted(len(persons), 'person')} got this donor's face")
    verdicts = {own.scored.place: own for own in compared or ()}
    listed = []
    for number, places in enumerate(persons.values(), 1):
        own = [verdicts[place] for place in places if place in verdicts]
        best = max(own, key=lambda one: one.scored.score, default=None)
        lines.append(f"person {number:<3} {format_counted(len(places), 'face')}{_best(best, compared)}")
        lines += [f"           {place.name}" for place in places[:_SHOWN]]
        listed.append({"faces": [place.name for place in places], "best": None if best is None else _compared(best)})
    values = {
        "donor": {"score": _rounded(donor.score), "next": _rounded(donor.next_score), "sure": donor.is_sure},
        "persons": listed,
    }
    named = [place for places in persons.values() for place in places]
    return Answer(lines, values, f"{len(persons)} persons with this donor", named)


def _about(index: FaceIndex) -> Iterator[str]:
    yield f"searched   {format_counted(len(index.faces), 'face')} of {format_counted(index.images, 'image')}"
    if missing := index.missing():
        listed = ", ".join(f"{count:,} {_WHY.get(why, why)}" for why, count in sorted(missing.items()))
        count = format_counted(sum(missing.values()), "face")
        yield f"cannot     be found: {count} that {'is' if sum(missing.values()) == 1 else 'are'} not in the index ({listed})"


def _threshold(found: Search, max_false_hits: float) -> Iterator[str]:
    if found.threshold is None or found.expected is None:
        yield f"threshold  none: {found.undecided}"
        return
    value, low, high = found.expected
    yield (
        f"threshold  {found.threshold:.3f}: {value:.2g} hits of other people expected (95 % of the fit: {low:.2g} to {high:.2g}; "
        f"allowed: {max_false_hits:g})"
    )


def _verdict(found: Comparison) -> str:
    return {True: "yes", False: "no", None: f"not decided: {TOO_FEW}"}[found.same]


def _best(best: Comparison | None, compared: Sequence[Comparison] | None) -> str:
    if compared is None:
        return ""
    if best is None:
        return ", none of them in the index, so the photograph was not compared"
    return f", the photograph shows this person: {_verdict(best)} ({best.scored.score:.3f})"


def _probability(own: Expected) -> str:
    return "below 1e-12" if own.high < 1e-12 else f"{own.value:.1g} (95 % of the fit: {own.low:.1g} to {own.high:.1g})"


def _scored(own: Scored, decision: str) -> dict[str, Any]:
    return {
        "image_id": own.place.image_id,
        "region": own.place.region,
        "score": _rounded(own.score),
        "decision": decision,
    }


def _compared(own: Comparison) -> dict[str, Any]:
    decision = {True: "same", False: "not the same", None: "undecided"}[own.same]
    return {**_scored(own.scored, decision), "chance_of_somebody_else": _interval(own.chance)}


def _interval(own: Expected | None) -> dict[str, float] | None:
    return None if own is None else {"value": own.value, "low": own.low, "high": own.high}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
