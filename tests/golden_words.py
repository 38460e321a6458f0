"""What releases say of themselves, for each treatment and each state of ledger and keys, as text that is compared with files.

`make words` writes the files in tests/data/words again. Read the difference before you commit it: these are the words that a
data-protection officer reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from anon_batch.config import load_job
from anon_batch.formats.destroyed_json import LEDGER, RUN_KEY, Destroyed, Destruction
from anon_batch.formats.gates_json import GateResult, Gates
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import PUBLIC_SECTIONS, RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.release.card.card import render_card
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.words.statement import Statement, state_what_it_is
from anon_batch.release.words.table import SECRETS, Secret
from anon_batch.stats import ShardStats, summarise
from anon_batch.stats.label import LabelStats
from anon_batch.storage import Storage

FOLDER = Path(__file__).parent / "data/words"
RUN_ID = "0123456789abcdef"
WHEN = "2026-03-05T12:00:00+00:00"

# Release -> (method -> regions, regions kept on the owner's word).
RELEASES: Mapping[str, tuple[Mapping[str, int], int]] = {
    "gan": ({"gan": 120}, 0),
    "swap": ({"swap": 120}, 0),
    "solid": ({"solid": 120}, 0),
    "pixelate": ({"pixelate": 120}, 0),
    "blur": ({"blur": 120}, 0),
    "inpaint": ({"inpaint": 120}, 0),
    "mixed": ({"gan": 110, "pixelate": 9, "solid": 1}, 0),
    "kept regions": ({"gan": 119}, 1),
    "clean only": ({}, 0),
    "a method of a plug-in": ({"melt": 120}, 0),
}


def _gone(what: str, **more: Any) -> Destruction:
    own = {"deleted_count": 7, "versions_left": 0, "complete": True, **more}
    return Destruction(what, WHEN, "Jane Doe, data protection", **own)


# State of ledger and keys -> what is on record.
STATES: Mapping[str, tuple[Destruction, ...]] = {
    "ledger kept": (),
    "run key destroyed": (_gone(RUN_KEY),),
    "ledger destroyed": (_gone(RUN_KEY), _gone(LEDGER)),
}
# Further states, which need no release of each treatment.
OTHER_STATES: Mapping[str, tuple[Destruction, ...]] = {
    "ledger destroyed, run key elsewhere": (_gone(LEDGER),),
    "versions of the ledger left in its bucket": (_gone(RUN_KEY), _gone(LEDGER, versions_left=12)),
    "both destroyed, the store does not say more": (
        _gone(RUN_KEY, versions_left=None),
        _gone(LEDGER, versions_left=None),
    ),
    "destruction begun": (_gone(RUN_KEY), _gone(LEDGER, complete=False)),
}
IDENTITY = Secret("identity key", "gives a person the same face", lambda run: True, consistent=True)


def a_run(**keys: Any) -> RunJson:
    """Return the description of a finished run of 1,000 rows; `keys` are of its job, with `__` for dots."""
    own = {key.replace("__", "."): value for key, value in keys.items()}
    job = load_job(None, {"name": "streets", "manifest": "m", "output": "o", **own})
    return RunJson(
        run_id=RUN_ID,
        created_at=WHEN,
        rows=1000,
        shard_rows=256,
        models=("centerface@77e394b51108381b4c4f7b4baf1c64ca9f4aba73e5e803b2636419578913b5fe",),
        config=job.model_dump(mode="json", include={"name", *PUBLIC_SECTIONS}),
        state="finished",
        finished_at=WHEN,
        statuses={"anonymized": 100, "clean": 900, "withheld": 0, "failed": 0},
        columns={"published": ["label"], "withheld": {"url": "address"}, "blanked": {"caption": {"contact": 2}}},
        tool_version="1.0",
    )


def statement(name: str, state: str, run: RunJson | None = None, secrets: tuple[Secret, ...] = SECRETS) -> Statement:
    methods, kept = RELEASES[name]
    things = {**STATES, **OTHER_STATES}[state]
    return state_what_it_is(run or a_run(), methods, kept, Destroyed(RUN_ID, things), secrets)


def finished(name: str, state: str, **keys: Any) -> FinishedRelease:
    """Return a release that was never made: its descriptions alone."""
    methods, kept = RELEASES[name]
    regions = sum(methods.values())
    faces = {"face": LabelStats({1: regions}, methods=dict(methods), kept=kept)} if regions else {}
    statuses = {"anonymized": min(regions, 100), "clean": 1000 - min(regions, 100)}
    stats = StatsJson(summarise(ShardStats(1000, statuses, regions_per_image={1: regions, 0: 880}, labels=faces)))
    passed = GateResult("withheld", "at_most", 0.01, 0.0, passed=True, note="0 of 1,000 rows")
    release = Release(Storage(), "memory://golden/release")
    destroyed = Destroyed(RUN_ID, STATES[state])
    return FinishedRelease(release, a_run(**keys), stats, Gates((passed,)), destroyed=destroyed)


def render(name: str, state: str, **keys: Any) -> str:
    """Return the card of a release that was never made, so that it has no provenance to count generated faces in."""
    with mock.patch("anon_batch.release.card.card.describe_generated", return_value="(counted in the provenance)"):
        return render_card(finished(name, state, **keys))


def files() -> Iterator[tuple[str, str]]:
    """Yield name and content of every file."""
    yield "statements.md", "\n".join(_statements())
    owner = {
        "compliance__controller": "Example University, 1 Main Street, Sampletown",
        "compliance__contact": "faces@example.org",
        "compliance__legal_basis": "Article 6(1)(f) GDPR: legitimate interest in research on detection",
        "compliance__uses": "Training of detectors. Not meant for: the recognition of persons.",
        "compliance__licence": "CC-BY-4.0",
    }
    yield "card-gan-ledger-kept.md", render("gan", "ledger kept")
    yield "card-mixed-run-key-destroyed.md", render("mixed", "run key destroyed", **owner)
    yield "card-blur-ledger-destroyed.md", render("blur", "ledger destroyed")
    yield (
        "card-kept-regions-ledger-kept.md",
        render("kept regions", "ledger kept", write__layout="parquet"),
    )
    yield (
        "card-clean-only-ledger-destroyed.md",
        render("clean only", "ledger destroyed", write__layout="webdataset"),
    )


def found_by_comparing() -> RunJson:
    """Return the description of a run whose persons were found by comparing faces."""
    expected = {"value": 0.84, "low": 0.023, "high": 22.8}
    identity = {
        "scope": "dataset",
        "source": "cluster",
        "compared": 480,
        "linked": 113,
        "persons": 56,
        "pairs": 114387,
        "expected_false_pairs": expected,
    }
    run = a_run()
    return dataclasses.replace(run, config={**run.config, "identity": identity})


def _statements() -> Iterator[str]:
    yield "# Treatment\n"
    for name in RELEASES:
        yield f"- **{name}**: {statement(name, 'ledger kept').aspects[0][1]}"
    yield "\n# Headline\n"
    for name in RELEASES:
        for state in STATES:
            yield f"- **{name}, {state}**: {statement(name, state).headline}"
    yield "\n# Holder and recipient\n"
    cases = [(state, statement("gan", state)) for state in (*STATES, *OTHER_STATES)]
    links = a_run(publish__columns=["json.url"])
    cases += [(f"{state}, addresses published", statement("gan", state, links)) for state in STATES]
    consistent = (*SECRETS, IDENTITY)
    things = (*STATES["ledger destroyed"], _gone("identity key"))
    cases += [
        ("consistent identities, ledger kept", statement("gan", "ledger kept", secrets=consistent)),
        (
            "consistent identities, all destroyed",
            state_what_it_is(a_run(), RELEASES["gan"][0], 0, Destroyed(RUN_ID, things), consistent),
        ),
    ]
    for case, own in (
        *cases,
        ("persons found by comparing faces", statement("gan", "ledger kept", found_by_comparing())),
    ):
        yield f"## {case}\n"
        yield from (f"- **{aspect}**: {words}" for aspect, words in own.aspects[1:3])
        yield ""
    yield f"# {own.aspects[3][0]}\n"
    yield f"{own.aspects[3][1]}\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files():
        (FOLDER / name).write_text(content, encoding="utf-8")
