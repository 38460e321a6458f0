"""What a release says it is: every case of the table, word for word, and nothing that no release may claim."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import product

import golden_words
import pytest
import yaml
from document_blocks import ROOT
from golden_words import FOLDER, OTHER_STATES, RELEASES, STATES, a_run, finished, statement
from hypothesis import given
from hypothesis import strategies as st

from anon_batch import plugins
from anon_batch.claims import CLAIMS, PROMISES, claims_in, promises_in
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import LEDGER, RUN_KEY, Destroyed, Destruction
from anon_batch.release.card.card import render_card
from anon_batch.release.croissant.describe import describe
from anon_batch.release.licences import list_licences
from anon_batch.release.report.compute import compute_report
from anon_batch.release.report.page import render
from anon_batch.release.risk.page import render_risk
from anon_batch.release.risk.worksheet import fill_worksheet
from anon_batch.release.words.check import WORDED, readable
from anon_batch.release.words.limits import list_limits
from anon_batch.release.words.owner import LABELS
from anon_batch.release.words.statement import NOT_CLAIMED, state_what_it_is
from anon_batch.release.words.table import LINKAGES, MEANINGS, TREATMENTS, Case, Linkages


@pytest.mark.parametrize(
    ("name", "content"), list(golden_words.files()), ids=[name for name, _ in golden_words.files()]
)
def test_the_words_are_those_of_the_golden_files(name: str, content: str) -> None:
    assert content == (FOLDER / name).read_text(encoding="utf-8"), "if the new words are right: make words"


def test_every_golden_file_is_one_of_these() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {name for name, _ in golden_words.files()}


def test_every_method_of_this_package_has_a_treatment() -> None:
    assert set(plugins.built_in("methods")) == set(TREATMENTS)
    assert set(TREATMENTS.values()) == set(MEANINGS)


def test_the_table_has_every_case() -> None:
    assert set(LINKAGES) == {Case(*flags) for flags in product((True, False), repeat=3)}
    for case, words in LINKAGES.items():
        assert words.holder == "pseudonymised" or not case.secret_left
        assert words.holder == words.recipient == "pseudonymised" or not case.consistent
        assert words.recipient != "unlinked" or not case.columns_lead


@given(
    st.dictionaries(st.sampled_from([*TREATMENTS, "other"]), st.integers(1, 9)),
    st.lists(
        st.builds(
            Destruction,
            st.sampled_from([LEDGER, RUN_KEY]),
            st.just(golden_words.WHEN),
            st.just("x"),
            st.integers(0, 3),
            st.sampled_from([None, 0, 2]),
            st.booleans(),
        ),
        unique_by=lambda own: own.what,
    ),
)
def test_only_what_is_destroyed_as_a_whole_unlinks(methods: dict[str, int], things: list[Destruction]) -> None:
    said = state_what_it_is(a_run(), methods, 0, Destroyed("r", tuple(things)))
    all_gone = len([own for own in things if own.complete and own.versions_left in (None, 0)]) == 2
    assert said.holder == ("unlinked" if all_gone else "pseudonymised")
    assert said.recipient == "unlinked"
    weakest = next((word for word in MEANINGS if word in {TREATMENTS.get(m, "obfuscated") for m in methods}), None)
    assert said.treatment == weakest


def _files(name: str, state: str, **keys: object) -> dict[str, str]:
    release = finished(name, state, **keys)
    report, worksheet = compute_report(release, None), fill_worksheet(release)
    return {
        layout.CARD: render_card(release),
        layout.CROISSANT: json.dumps(describe(release)),
        layout.REPORT: render(report),
        layout.REPORT_JSON: report.to_json().decode(),
        layout.RUN: release.run.to_json().decode(),
        layout.RISK: worksheet.to_json().decode(),
        layout.RISK_PAGE: render_risk(worksheet),
        layout.LICENCES: json.dumps([dataclasses.asdict(own) for own in list_licences(release)]),
    }


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", RELEASES)
def test_no_file_claims_what_no_release_may_claim(name: str, state: str) -> None:
    files = _files(name, state)
    assert set(files) == set(WORDED)
    for key, text in files.items():
        assert promises_in(readable(key, text), [NOT_CLAIMED]) == [], key


@pytest.mark.parametrize("state", [*STATES, *OTHER_STATES])
@pytest.mark.parametrize("name", RELEASES)
def test_the_word_anonymous_stands_in_no_sentence_but_the_one_that_disclaims_it(name: str, state: str) -> None:
    aspects = dict(statement(name, state).aspects)
    assert aspects.pop("Not claimed") == NOT_CLAIMED
    assert "anonymous" not in " ".join(aspects.values()).lower()


def test_the_statements_are_the_same_everywhere() -> None:
    files = _files("mixed", "run key destroyed")
    said = statement("mixed", "run key destroyed")
    content = json.loads(files[layout.REPORT_JSON])
    assert content["statement"] == dict(said.aspects)
    assert (content["treatment"], content["linkage"]) == (
        "obfuscated",
        {"holder": "pseudonymised", "recipient": "unlinked"},
    )
    assert json.loads(files[layout.CROISSANT])["rai:personalSensitiveInformation"] == list(dict(said.aspects).values())
    for key in (layout.CARD, layout.REPORT):
        text = " ".join(readable(key, files[key]).split())
        for _, words in said.aspects:
            assert words.replace("\u00a0", " ") in text.replace("\u00a0", " "), key


def test_the_list_of_words_is_exact() -> None:
    """Words that are nearly the forbidden ones, and that the files of a release need."""
    assert promises_in("anonymized, anonymize, anonymization, anon-batch, safetensors, unsafe, 100.0 %") == []
    for pattern in (*CLAIMS.values(), *PROMISES.values()):
        assert re.compile(pattern)
    assert promises_in("the column `safe` is published", ["safe"]) == []
    assert promises_in("the column `safe` is published", ["e", "saf"]) == ["safe"]
    assert promises_in("unsafe and safe", ["safe"]) == []


def test_hostile_words_of_the_owner_are_shown_as_text() -> None:
    hostile = "<script>alert(1)</script> | `x` [a](http://e) ![b](c) *d* # e\n---\n\n- f\n<!-- g -->  ${h} &amp; ~~i~~"
    keys = {
        f"compliance__{key}": hostile[:299] for key in ("controller", "contact", "uses", "licence", "source_licence")
    }
    files = _files("gan", "ledger kept", **keys)
    card = files[layout.CARD]
    [row] = [line for line in card.splitlines() if line.startswith("| Uses |")]
    assert row.count("|") - row.count("\\|") == 3
    assert card.count("\n---\n") == 1
    assert "<script>" not in card
    assert "<script>" not in files[layout.REPORT]
    assert json.loads(files[layout.CROISSANT])["rai:dataUseCases"] == [hostile]


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("ImageNet terms of access", {"license": "other", "license_name": "ImageNet terms of access"}),
        ("ours: `no` | \n---\nx", {"license": "other"}),
    ],
)
def test_the_hub_finds_the_licence(licence: str | None, expected: dict[str, str]) -> None:
    keys = {} if licence is None else {"compliance__licence": licence}
    front = next(yaml.safe_load_all(render_card(finished("gan", "ledger kept", **keys)).split("\n---\n")[0]))
    assert {key: text for key, text in front.items() if key.startswith("license")} == expected


def test_a_witness_with_markup_in_the_name_stays_text() -> None:
    things = tuple(
        Destruction(what, golden_words.WHEN, "`<b>x</b>` [y](z)", 1, None, complete=True) for what in (LEDGER, RUN_KEY)
    )
    release = finished("gan", "ledger kept")
    object.__setattr__(release, "destroyed", Destroyed(release.run.run_id, things))
    assert "“'\\<b\\>x\\</b\\>' \\[y\\](z)”" in render_card(release)
    assert "<b>x" not in render(compute_report(release, None))


@pytest.mark.parametrize(
    ("methods", "says", "not_says"),
    [
        ({"gan": 1}, ("another face in each", "do not rule out linking"), ("Each image is anonymized by itself",)),
        (
            {"solid": 1},
            ("Each image is anonymized by itself",),
            ("another face in each", "several images of a person each"),
        ),
        ({"blur": 1, "solid": 1}, ("several images of a person each keep", "by itself"), ("another face in each",)),
        ({}, ("no detector found",), ("another face", "by itself")),
    ],
)
def test_limits_are_those_of_the_methods(
    methods: dict[str, int], says: tuple[str, ...], not_says: tuple[str, ...]
) -> None:
    text = " ".join(list_limits(a_run(), methods, 0, ()))
    assert "was not measured" in text
    assert all(own in text for own in says)
    assert not any(own in text for own in not_says)


def test_limits_name_what_was_looked_for_and_say_of_cars_what_is_true_of_cars() -> None:
    of_plates = list_limits(a_run(), {"plate": 3}, 0, (), {"licence_plate": {}})
    assert of_plates[0].startswith("Faces and number plates that no detector found are published as they are.")
    assert any("another plate in each" in text for text in of_plates)
    assert not any("another face in each" in text or "alike" in text for text in of_plates)
    both = " ".join(list_limits(a_run(), {"gan": 1, "plate": 3}, 0, (), {"face": {}, "licence_plate": {}}))
    assert "another face in each" in both
    assert "another plate in each" in both
    assert list_limits(a_run(), {}, 0, (), {"face": {}})[0].startswith("Faces that no detector found")


@pytest.mark.parametrize(
    ("shape", "methods", "expected"),
    [
        (None, {"solid": 2}, True),
        ("outline", {"mannequin": 2, "inpaint": 1}, True),
        (None, {"mannequin": 2}, False),
        ("rectangle", {"solid": 2}, False),
    ],
)
def test_limits_say_that_outlines_of_persons_show_build(
    shape: str | None, methods: dict[str, int], *, expected: bool
) -> None:
    run = a_run(anonymize__person={"method": next(iter(methods)), "shape": shape})
    said = " ".join(list_limits(run, methods, 0, (), {"person": {"methods": methods}}))
    assert ("their outlines may show build" in said) == expected
    assert "outlines" not in " ".join(list_limits(run, {"solid": 2}, 0, (), {"face": {"methods": {"solid": 2}}}))


def test_limits_know_what_chooses_the_new_face() -> None:
    run = a_run(anonymize__options={"gan": {"donor_by": "subject"}})
    assert "alike" not in " ".join(list_limits(run, {"gan": 1}, 0, ()))
    assert "alike" in " ".join(list_limits(run, {"gan": 1, "swap": 1}, 0, ()))
    assert "2 regions were left as in the source" in " ".join(list_limits(run, {}, 2, ("0 of 3 were missed.",)))


GUIDE = (ROOT / "docs/guides/words.md").read_text(encoding="utf-8")


def _table(first: str) -> list[list[str]]:
    """Return the rows of the guide's table whose first heading is this."""
    [block] = [own for own in re.findall(r"(?:^\|.*\n)+", GUIDE, re.MULTILINE) if own.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()[2:]]


def test_the_guide_has_the_table_of_treatments() -> None:
    named = {word: (set(re.findall(r"`(\w+)`", methods)), meaning) for methods, word, meaning in _table("Methods")}
    expected = {
        word: ({method for method, own in TREATMENTS.items() if own == word}, meaning)
        for word, meaning in MEANINGS.items()
    }
    assert named == expected


def test_the_guide_has_the_table_of_linkage() -> None:
    said = {
        Case(secret_left=left == "one exists", consistent=False, columns_lead=lead == "yes"): Linkages(
            holder, recipient
        )
        for left, lead, holder, recipient in _table("Ledger and keys")
    }
    assert said == {case: words for case, words in LINKAGES.items() if not case.consistent}


def test_the_guide_names_every_key_of_the_owner() -> None:
    for key in LABELS:
        assert f"  {key}: " in GUIDE or f"`{key}`" in GUIDE, key


# Where documents name a forbidden word because they forbid it, or say that it is not so.
_ALLOWED = {
    "docs/guides/words.md",
    "docs/guides/report.md: anonymous",
    "CHANGELOG.md: anonymous",
    "CHANGELOG.md: GDPR-compliant",
    "README.md: cannot be recognised",
}


def test_documents_claim_nothing_for_releases() -> None:
    pages = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")] + sorted(
        (ROOT / "docs").rglob("*.md")
    )
    found = {
        f"{path.relative_to(ROOT)}: {word}" for path in pages for word in claims_in(path.read_text(encoding="utf-8"))
    }
    assert {own for own in found if own.partition(":")[0] not in _ALLOWED} <= _ALLOWED


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        ("<tr><td>100.0\u00a0%</td></tr><tr><td>anonymized faces alone</td></tr>", False),
        ("<p>found <b>100.0 %</b></p><li>anonymized</li>", False),
        ("<p>100.0 % <b>anonymized</b></p>", True),
        ("<p>ful<b>ly</b> <i>anonymized</i></p>", False),  # shown as two words
        ("<p><span>fully</span> <i>anonymized</i></p>", True),
    ],
)
def test_cells_side_by_side_make_no_claim(text: str, claimed: bool) -> None:
    assert bool(promises_in(readable("report/index.html", text))) is claimed


def test_persons_who_were_found_by_comparing_faces_are_an_estimate() -> None:
    run = golden_words.found_by_comparing()
    own = statement("gan", "ledger kept", run)
    said = " ".join(list_limits(run, {"gan": 100}, 0, ()))
    for text in (own.aspects[2][1], said):
        assert "Who is who was not stated but estimated" in text
        assert "0.84 false pairs expected (95 % interval 0.023 to 23) among 114,387 pairs of faces compared" in text
    assert own.holder == own.recipient == "pseudonymised"
    identity = {**run.config["identity"], "expected_false_pairs": None}
    unknown = dataclasses.replace(run, config={**run.config, "identity": identity})
    assert "an unknown number of false pairs among" in statement("gan", "ledger kept", unknown).aspects[2][1]
    named = dataclasses.replace(run, config={**run.config, "identity": {"scope": "dataset"}})
    assert "estimated" not in statement("gan", "ledger kept", named).aspects[2][1]
