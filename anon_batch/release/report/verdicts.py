"""The verdict: each limit of the job in plain words, and whether the whole may be called within its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.release.report.document import GateVerdict, Headline, State
from anon_batch.release.report.words import format_limit, format_time
from anon_batch.release.verdict import Verdict
from anon_batch.units import format_count, format_counted


@dataclass(frozen=True, slots=True)
class _Words:
    what: str
    exceeded: str
    unmeasured: str = "Measure it: run `anon-batch evaluate OUTPUT`."


_REASONS = "Read the reasons under “Rows”: each says what to do. Then run the job again as a release of its own."
_FIND_MORE = (
    "Do not publish yet. Add a second detector or lower `detect.threshold`, run again, and look at the missed faces with "
    "`anon-batch review OUTPUT`."
)
_WORDS: Mapping[str, _Words] = {
    "withheld": _Words("rows of which no output passed all checks, so that none is published", _REASONS),
    "failed": _Words("rows whose source could not be read", _REASONS),
    "residual": _Words(
        "images in which a face is left, by the residual check",
        _FIND_MORE,
        "Switch the check on: set `checks: {residual: {}}` in the job, and run it.",
    ),
    "missed": _Words(
        "faces left uncovered in published images, by labels or by human review, whichever is worse; where other things are "
        "labelled too, the worst label",
        _FIND_MORE,
        "Label faces in the manifest's column `regions`, or review a sample: `anon-batch review OUTPUT`.",
    ),
    "recall": _Words(
        "labelled faces that the detectors found; where other things are labelled too, the worst label",
        _FIND_MORE,
        "Label faces in the manifest's column `regions`, or review a sample: `anon-batch review OUTPUT`.",
    ),
    "reidentification": _Words(
        "persons whom the strongest attacker recognises at the first guess",
        "Do not publish yet. Choose a stronger method, such as `gan` or `solid`, and a larger `expansion`.",
    ),
    "ap_kept": _Words(
        "the average precision that a face detector keeps on the anonymized images",
        "The images lose value for training detectors. Choose a method that shows faces, such as `gan` or `swap`.",
    ),
}
_UNKNOWN = _Words("the figure of that name below", "See the figure below, and change the job before you publish.")


# Gates -> the question that they are about; missed faces first.
_QUESTIONS: Mapping[tuple[str, ...], str] = {
    ("missed", "recall", "residual"): "missed faces",
    ("reidentification",): "recognition",
    ("ap_kept",): "use for training",
}


def judge_gates(gates: Gates) -> tuple[GateVerdict, ...]:
    """Return each gate in plain words."""
    return tuple(_judge(result) for result in gates.results)


def _judge(result: GateResult) -> GateVerdict:
    words = _WORDS.get(result.name, _UNKNOWN)
    bound = "At most" if result.kind == "at_most" else "At least"
    says = f"{bound} {format_limit(result.limit)}: {words.what}."
    if result.value is None:
        why = result.note.removeprefix("not measured").lstrip(": ")
        return GateVerdict(result.name, says, result.limit, None, why, "not measured", words.unmeasured)
    if result.passed:
        return GateVerdict(result.name, says, result.limit, result.value, result.note, "passed", "")
    return GateVerdict(result.name, says, result.limit, result.value, result.note, "exceeded", words.exceeded)


def judge_whole(gates: tuple[GateVerdict, ...], verdict: Verdict | None) -> Headline:
    """Return the verdict on the whole release; it is good only if every limit was kept and nothing is faulty."""
    exceeded = [gate.name for gate in gates if gate.outcome == "exceeded"]
    unmeasured = [gate.name for gate in gates if gate.outcome == "not measured"]
    sentences = [
        *([_sentence(exceeded, "is exceeded", "are exceeded")] if exceeded else []),
        *(
            [
                _sentence(
                    unmeasured,
                    "was not measured, which counts as exceeded",
                    "were not measured, which counts as exceeded",
                )
            ]
            if unmeasured
            else []
        ),
        _verified(verdict),
    ]
    faulty = verdict is not None and verdict.faults_count > 0
    unlimited = [what for names, what in _QUESTIONS.items() if not any(gate.name in names for gate in gates)]
    # Because images without a limit on missed faces may show anybody, such a release is not called good.
    limited = any(gate.name in next(iter(_QUESTIONS)) for gate in gates)
    state: State = "bad" if exceeded or unmeasured or faulty else "good" if limited else "open"
    if faulty:
        text = "This release is damaged or incomplete. Do not publish it."
    elif state == "bad":
        text = "This release is not within the limits that its job set."
    elif not gates:
        text = "This job set no limits, so there is nothing to judge this release by."
        sentences.append("Set limits in the section `gates` of the job, and run the same command again.")
    else:
        kept = "The limit" if len(gates) == 1 else f"All {format_count(len(gates))} limits"
        text = f"{kept} that the job set {'was' if len(gates) == 1 else 'were'} kept."
    if gates and unlimited:
        sentences.append(
            f"No limit is set on {' and '.join(unlimited)}: the three questions below say what was measured."
        )
    return Headline(state, text, tuple(sentences))


def _sentence(names: list[str], one: str, many: str) -> str:
    listed = ", ".join(f"`{name}`" for name in names[:10]) + (" and more" if len(names) > 10 else "")
    return f"The limit {listed} {one}." if len(names) == 1 else f"The limits {listed} {many}."


def _verified(verdict: Verdict | None) -> str:
    if verdict is None:
        return "This state of the release was not verified: run `anon-batch report OUTPUT --verify`."
    compared = "compared" if verdict.with_ledger else "not compared"
    checked = (
        f"{format_count(verdict.accounted)} of {format_count(verdict.rows)} rows accounted for, "
        f"{format_count(verdict.objects)} images read, decoded and checked for their digests and for metadata; ids {compared} "
        "with the private ledger"
    )
    when = format_time(verdict.checked_at)
    if verdict.faults_count:
        return f"VERIFICATION FAILED: {format_counted(verdict.faults_count, 'fault')}, {when}; {checked}."
    return f"Verified, {when}: {checked}."
