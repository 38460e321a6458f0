"""What a release says it is, in sentences: one for its treatment, one for the holder of ledger and keys, one for recipients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from anon_batch.formats.destroyed_json import Destroyed, Destruction
from anon_batch.formats.run_json import RunJson
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.words import format_time
from anon_batch.release.words.found_persons import say_how_sure
from anon_batch.release.words.table import (
    LINKAGES,
    MEANINGS,
    SECRETS,
    TREATMENTS,
    Case,
    Linkage,
    Secret,
    Treatment,
    count_treatments,
    kept_secrets,
)
from anon_batch.units import format_counted

TREATMENT = "Treatment"
HOLDER = "For the controller, who holds or held ledger and keys"
RECIPIENT = "For a recipient of the release alone"
NOT_CLAIMED = (
    "That the release is “anonymous” as laws use the word: it depends on what was missed, on what else the images show, and on "
    "what each holder knows or can get (recital 26 GDPR; Court of Justice, C-413/23 P). Destroying ledger and keys alone does "
    "not make it so. Nor that the processing keeps to a law: that is for its controller to judge."
)
_MATCH = (
    "Anyone who has a copy of a source image can match it with its output: by its id, and by the pixels outside the regions, "
    "which are unchanged. An output without a region may be its source byte for byte."
)
_UNKNOWN_METHOD = "A method that this version does not know counts as obfuscation, the weakest."


@dataclass(frozen=True, slots=True)
class Statement:
    """What a release says it is.

    Args:
        treatment: the weakest of its regions; None if there is no region.
        kept: regions left as they are on the owner's word.
        holder: linkage for the holder of the ledger and the keys.
        recipient: linkage for a recipient of the release alone.
        aspects: (aspect, sentences) to show: treatment, holder, recipient, what is not claimed.
    """

    treatment: Treatment | None
    kept: int
    holder: Linkage
    recipient: Linkage
    aspects: tuple[tuple[str, str], ...]

    @property
    def headline(self) -> str:
        """The words alone: treatment, linkage for the controller, linkage for recipients."""
        treatment: str = "no region anonymized" if self.treatment is None else self.treatment
        if self.kept:
            treatment += f", but {format_counted(self.kept, 'region')} kept as in the source"
        if self.holder == self.recipient:
            linkage = f"{self.holder} for its controller and for recipients"
        else:
            linkage = f"{self.holder} for its controller, {self.recipient} for recipients"
        return f"{treatment[0].upper()}{treatment[1:]}; {linkage}."


def state_what_it_is(
    run: RunJson,
    methods: Mapping[str, int],
    kept: int,
    destroyed: Destroyed,
    secrets: Sequence[Secret] = SECRETS,
) -> Statement:
    """Return what a release is.

    Args:
        run: its run.json.
        methods: method -> regions that it anonymized.
        kept: regions left as they are on the owner's word.
        destroyed: what is on record as destroyed. What is not on record counts as existing, also where nobody can see it.
        secrets: rows of the table of what leads back from a release.
    """
    own = kept_secrets(run, secrets)
    asked_for = tuple(str(name) for name in run.config.get("publish", {}).get("columns", []))
    left = [secret for secret in own if not _is_destroyed(secret, destroyed)]
    case = Case(bool(left), any(secret.consistent for secret in own), bool(asked_for))
    words = LINKAGES[case]
    used = count_treatments(methods)
    return Statement(
        next(iter(used), None),
        kept,
        words.holder,
        words.recipient,
        (
            (TREATMENT, " ".join(_treatment(used, methods, kept))),
            (HOLDER, " ".join(_holder(words.holder, own, left, destroyed, case))),
            (RECIPIENT, " ".join(_recipient(words.recipient, asked_for, say_how_sure(run)))),
            ("Not claimed", NOT_CLAIMED),
        ),
    )


def statement_of(finished: FinishedRelease) -> Statement:
    """Return what a finished release is."""
    summary = finished.stats.summary
    methods = {str(name): int(count) for name, count in summary["methods"].items()}
    return state_what_it_is(finished.run, methods, int(summary["regions_kept"]), finished.destroyed)


def _is_destroyed(secret: Secret, destroyed: Destroyed) -> bool:
    record = destroyed.find(secret.name)
    return record is not None and record.counts


def _treatment(used: Mapping[Treatment, int], methods: Mapping[str, int], kept: int) -> Iterator[str]:
    parts = [f"{format_counted(count, 'region')} {word}: {MEANINGS[word]}." for word, count in used.items()]
    if not parts:
        yield "None. No region was found that had to be anonymized, so that every image shows what its source shows."
    elif len(parts) == 1:
        yield f"{next(iter(used)).capitalize()}. {parts[0]}"
    else:
        yield f"{next(iter(used)).capitalize()}, because the weakest treatment names the whole."
        yield from parts
    if not methods.keys() <= TREATMENTS.keys():
        yield _UNKNOWN_METHOD
    if kept:
        yield f"{_kept(kept)} left as in the source, because the owner marked {'it' if kept == 1 else 'them'} to be kept."


def _kept(kept: int) -> str:
    return f"{format_counted(kept, 'region')} {'was' if kept == 1 else 'were'}"


def _holder(
    word: Linkage, own: Sequence[Secret], left: Sequence[Secret], destroyed: Destroyed, case: Case
) -> Iterator[str]:
    if case.consistent and not left:
        yield "Pseudonymised for ever: a person has the same face in several images, so that these images stay linked."
    elif word == "pseudonymised":
        yield "Pseudonymised, so personal data."
    else:
        yield f"{word.capitalize()}."
    for secret in left:
        yield f"The {secret.name} {secret.leads}."
    yield from _unrecorded([secret.name for secret in left if destroyed.find(secret.name) is None])
    for record in (destroyed.find(secret.name) for secret in own):
        if record is not None:
            yield _fate(record)
    if len(left) < len(own):
        yield "Copies and backups cannot be seen from here."
    if not left:
        yield "A controller who keeps the sources can still match each output with its source, so that it stays personal data."


def _unrecorded(names: Sequence[str]) -> Iterator[str]:
    if names:
        *rest, last = (f"the {name}" for name in names)
        listed = f"{', '.join(rest)} and {last} are" if rest else f"{last} is"
        yield f"No record says that {listed} destroyed."


def _fate(record: Destruction) -> str:
    """Return what became of a secret."""
    when = format_time(record.destroyed_at)
    if record.versions_left:
        left = format_counted(record.versions_left, "version")
        return f"The {record.what} was deleted ({when}), but its bucket still holds {left} of it."
    if not record.complete:
        return f"To delete the {record.what} was begun ({when}), and not ended."
    unknown = " Whether its store holds earlier versions is not known." if record.versions_left is None else ""
    return (
        f"The {record.what} was destroyed ({when}); “{record.said_by.replace('`', chr(39))}” answers for it.{unknown}"
    )


def _recipient(word: Linkage, asked_for: Sequence[str], how_sure: str) -> Iterator[str]:
    if word == "pseudonymised":
        yield "Pseudonymised. A person has the same face in several images, so that these images are linked."
        if how_sure:
            yield how_sure
    elif word == "unlinked":
        yield "Unlinked. The release holds no address and no detection's box of a source, and no column that looks like a link."
    if asked_for:
        listed = ", ".join(f"`{name.replace('`', chr(39))}`" for name in asked_for)
        so_far = "Linked as far as these columns lead" if word == "linked" else "These columns lead further"
        yield f"{so_far}, which the job publishes although they look like a link: {listed}."
    yield f"{_MATCH} Whether a recipient can identify somebody depends on what that recipient knows or can get."
