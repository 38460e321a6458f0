"""The three questions that the owner of a release must answer, each answered by what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anon_batch.label_words import join_nouns
from anon_batch.records import DEFAULT_LABEL
from anon_batch.release.report.document import Answer, GateVerdict, NamedFigure, State
from anon_batch.release.report.measures import Measures
from anon_batch.release.report.shown import named
from anon_batch.release.report.vocabulary import BY_LABEL
from anon_batch.release.report.words import format_interval, format_value
from anon_batch.stats.figure import Figure
from anon_batch.units import format_count

# Answers to the same question; the worse stands first, so that it is not behind one that is better.
_RIVALS = (
    ("review.missed", "missed.from_16_px"),
    ("reidentification.rank_1", "reidentification.whole_image.rank_1"),
)
_SENTENCES: Mapping[str, str] = {
    "missed.from_16_px": "{value} of the labelled faces from 16 px are left uncovered in published images{interval}{n}.",
    "missed.all": "Of all labelled faces, tiny ones included, {value} are left uncovered{interval}{n}.",
    "review.missed": "People who reviewed a sample saw a missed face in {value} of the images{interval}{n}.",
    "residual.share": "The residual check estimates that a face is left in {value} of the images{interval}{n}.",
    "residual.after": "A second detector finds a face outside all regions in {value} of the published images{interval}{n}; false "
    "finds count too.",
    "missed.at_least": "Two detectors compared show that at least {value} are missed{n}; it may be far more.",
    "reidentification.rank_1": "From the anonymized face alone, the strongest attacker recognises {value} of the persons at the "
    "first guess{interval}{n}.",
    "reidentification.whole_image.rank_1": "From the whole image, with hair, clothes and background, the strongest attacker "
    "recognises {value} of the persons at the first guess{interval}{n}.",
    "reidentification.surroundings.rank_1": "With every face erased, hair, clothes and background give away "
    "{value}{interval}.",
    "reidentification.chance": "A guess recognises {value}.",
    "utility.ap_kept": "A face detector keeps {value} of its average precision{interval}{n}.",
    "utility.canary": "The accuracy of a classifier changes by {value}{interval}{n}.",
}


def answer_all(measures: Measures, gates: Sequence[GateVerdict]) -> tuple[Answer, ...]:
    """Return the three answers."""
    others = [name for name in measures.figures if name.startswith(BY_LABEL) and name != f"{BY_LABEL}{DEFAULT_LABEL}"]
    labels = (DEFAULT_LABEL, *(name.removeprefix(BY_LABEL) for name in others))
    found = ("review.missed", "missed.from_16_px", "missed.all", *others)
    return (
        _answer(
            "missed",
            f"Were {join_nouns(labels, 'or')} missed?",
            measures,
            gates,
            (*found, "residual.share", "residual.after", "missed.at_least"),
            ("missed", "recall", "residual"),
            "Not measured: run `anon-batch review OUTPUT` and look at a sample, or label faces in the manifest's column "
            "`regions`. A missed face is published unchanged.",
        ),
        _answer(
            "recognised",
            "Can somebody be recognised?",
            measures,
            gates,
            (
                "reidentification.rank_1",
                "reidentification.whole_image.rank_1",
                "reidentification.surroundings.rank_1",
                "reidentification.chance",
            ),
            ("reidentification",),
            "Not measured: run `anon-batch evaluate OUTPUT`. It lets attackers try to recognise anonymized faces.",
        ),
        _answer(
            "useful",
            "Is the data still worth training on?",
            measures,
            gates,
            ("utility.ap_kept", "utility.canary"),
            ("ap_kept",),
            "Not measured: run `anon-batch evaluate OUTPUT`. It compares what networks learn and find before and after.",
        ),
    )


def _answer(
    anchor: str,
    question: str,
    measures: Measures,
    gates: Sequence[GateVerdict],
    names: Sequence[str],
    judged_by: Iterable[str],
    missing: str,
) -> Answer:
    figures = [named(name, figure) for name in names if (figure := measures.measured(name)) is not None]
    rivals = {own for pair in _RIVALS for own in pair}
    figures.sort(key=lambda own: -_upper(own.figure) if own.name in rivals else 0.0)
    sentences = tuple(map(_sentence, figures))
    if not figures:
        reasons = [why for name in names if (why := _why(measures, name))]
        sentences = tuple(dict.fromkeys([missing, *reasons]))
    state, chip = _state([gate for gate in gates if gate.name in set(judged_by)], bool(figures))
    return Answer(anchor, question, state, chip, sentences, tuple(figures))


def _upper(figure: Figure) -> float:
    return next(value for value in (figure.high, figure.value, 0.0) if value is not None)


def _sentence(own: NamedFigure) -> str:
    """Return the figure as a sentence: what it is, its value, its interval, and what it rests on."""
    figure, known = own.figure, own.name in _SENTENCES
    words = _SENTENCES.get(own.name, "{label}: {value}{interval}{n}.")
    interval = format_interval(figure, own.unit)
    one_sided = interval.startswith(("at most", "at least"))
    bounds = f" ({'95 % bound' if one_sided else '95 % interval'}: {interval})" if interval else ""
    return words.format(
        label=own.label[0].upper() + own.label[1:],
        value=format_value(figure.value, own.unit),
        interval=bounds,
        n="" if figure.n is None else f", n = {format_count(figure.n)}{'' if known else f' {figure.unit}'}".rstrip(),
    )


def _why(measures: Measures, name: str) -> str:
    figure = measures.figures.get(name)
    why = measures.skipped.get(name, "") if figure is None else figure.note
    return f"Reason: {why.removeprefix('not measured: ').rstrip('.')}." if why else ""


def _state(gates: list[GateVerdict], measured: bool) -> tuple[State, str]:
    if any(gate.outcome == "exceeded" for gate in gates):
        return "bad", "limit exceeded"
    if not measured:
        return "open", "not measured"
    if any(gate.outcome == "not measured" for gate in gates):
        return "open", "partly measured"
    if gates:
        return "good", "within the limit"
    return "neutral", "measured, no limit set"
