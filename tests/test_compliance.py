"""`compliance` in a job: optional text of the owner, published, without claims that no release may make, and no part of the job
that a resume compares."""

from __future__ import annotations

import pytest
from pipeline_fixtures import job, release, write_dataset

from anon_batch.claims import claims_in, promises_in
from anon_batch.config import ComplianceConfig, load_job
from anon_batch.errors import ConfigError
from anon_batch.formats.release import Release
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.storage import Storage

IDS = ["a.png", "b.png"]


def _load(**keys: object) -> ComplianceConfig:
    own = {f"compliance.{key}": value for key, value in keys.items()}
    return load_job(None, {"manifest": "m", "output": "o", **own}).compliance


def test_everything_is_optional_and_blank_text_is_not_stated() -> None:
    assert set(_load().model_dump().values()) == {None}
    assert _load(controller="  ", contact=" a@b.org\n").model_dump(exclude_none=True) == {"contact": "a@b.org"}


TEXTS = [key for key in ComplianceConfig.model_fields if key != "retention_until"]  # a date


@pytest.mark.parametrize("key", TEXTS)
def test_every_key_takes_text_and_refuses_what_is_none(key: str) -> None:
    assert getattr(_load(**{key: "Ünïcode, lines\nand\ttabs: # <b> `x` | --- 日本"}), key).startswith("Ünï")
    for value in (7, 1.5, True, ["x"], {"x": 1}):
        with pytest.raises(ConfigError, match=f"`compliance.{key}`: expected text; put it between quotes"):
            _load(**{key: value})
    with pytest.raises(ConfigError, match="at most"):
        _load(**{key: "x" * 2001})


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x85", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\u00ad"])
def test_characters_that_hide_or_turn_text_are_refused(char: str) -> None:
    with pytest.raises(ConfigError, match=rf"`compliance.uses`.*U\+{ord(char):04X}"):
        _load(uses=f"for {char}training")


@pytest.mark.parametrize(
    "text",
    [
        "An anonymous data set",
        "ANONYMOUS",
        "protects their anonymity",
        "fully  anonymized",
        "GDPR-compliant",
        "GDPR\u2011compliant",
        "in full compliance with the GDPR",
        "irreversibly changed",
        "persons are unidentifiable",
        "nobody is no longer identifiable",
        "contains no personal data",
        "100 % anonymized",
        "a privacy-preserving set",
        "\uff21\uff4e\uff4f\uff4e\uff59\uff4d\uff4f\uff55\uff53",
    ],
)
def test_claims_that_no_release_may_make_are_refused(text: str) -> None:
    assert claims_in(text)
    with pytest.raises(ConfigError, match="which no release may claim"):
        _load(purpose=text)


@pytest.mark.parametrize(
    "text",
    [
        "Article 6(1)(c) GDPR: compliance with a legal obligation",
        "The ledger lies in a secure vault; anonymized with anon-batch; personal data is processed on this basis",
        "Article 9(2)(j) GDPR, research in the public interest",
        "5 years, then destroyed; no guarantee is given",
        "100 % cotton, 100 % of the budget",
    ],
)
def test_what_an_owner_needs_to_say_is_accepted(text: str) -> None:
    assert claims_in(text) == []
    assert _load(legal_basis=text).legal_basis == text


def test_words_of_this_package_promise_nothing_but_may_quote() -> None:
    assert promises_in("It is safe, secure and guaranteed.") == ["safe", "secure", "guaranteed"]
    assert promises_in("Not claimed: “anonymous”.", quoted=["Not claimed: “anonymous”."]) == []
    assert promises_in("Anonymized; anonymization with anon-batch; 100.0 %; saved; unsafely") == []


def test_it_is_published_and_may_change_after_the_run(tmp_path) -> None:
    write_dataset(str(tmp_path), IDS)
    done = release(job(str(tmp_path), "o"))
    place = Release(Storage(), str(tmp_path / "o"))
    assert set(place.read_run_json().compliance.values()) == {None}
    changed = job(str(tmp_path), "o", compliance__contact="faces@example.org")
    run, resumed = open_run(changed, ())
    assert resumed
    assert run.plan.run_id == done.plan.run_id
    finalize(run)  # as `run` does, although there is nothing left to process
    assert place.read_run_json().compliance["contact"] == "faces@example.org"
