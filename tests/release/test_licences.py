"""licences.json says what the registry and the owner say, of the weights that ran, and nothing else."""

from __future__ import annotations

import dataclasses
import json

import pytest
from pipeline_fixtures import job, release, write_dataset

from anon_batch.claims import promises_in
from anon_batch.formats.release import Release
from anon_batch.models.registry import MODELS
from anon_batch.release.creative_commons import contradictions, elements_of, obligations_of
from anon_batch.release.licences import find_contradictions, list_licences, write_licences
from anon_batch.release.report.finished import FinishedRelease, read_finished
from anon_batch.storage import Storage


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> FinishedRelease:
    folder = str(tmp_path_factory.mktemp("licences"))
    write_dataset(folder, ["a.png", "b.png"])
    release(job(folder))
    return read_finished(Release(Storage(), f"{folder}/out"))


def with_(
    finished: FinishedRelease, models: tuple[str, ...] = (), methods: tuple[str, ...] = (), **stated: str
) -> FinishedRelease:
    run = dataclasses.replace(finished.run, models=models, config={**finished.run.config, "compliance": stated})
    summary = {**finished.stats.summary, "methods": dict.fromkeys(methods, 3)}
    return dataclasses.replace(finished, run=run, stats=dataclasses.replace(finished.stats, summary=summary))


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_of_the_registry_are_known_by_their_digest(finished, name):
    entry = MODELS[name]
    [own] = [own for own in list_licences(with_(finished, (f"{name}@{entry.sha256}",))) if own.name == name]
    assert (own.licence, own.trained_on, own.sha256) == (entry.licence, entry.trained_on, entry.sha256)
    assert any("for research" in asks for asks in own.obligations) == (
        "WIDER FACE" in entry.trained_on or "MS-Celeb-1M" in entry.trained_on
    )
    [own] = [own for own in list_licences(with_(finished, (f"{name}@{'0' * 64}",))) if own.name == name]
    assert (own.licence, own.trained_on) == ("not known to anon-batch", "not known to anon-batch")


@pytest.mark.parametrize(("methods", "shown"), [(("solid",), False), (("gan",), True), (("swap", "blur"), True)])
def test_donors_are_in_the_release_if_their_faces_are(finished, methods, shown):
    found = with_(finished, (f"donors@{MODELS['donors'].sha256}",), methods)
    [donors] = [own for own in list_licences(found) if own.of == "donors"]
    assert donors.in_release is shown
    assert any("FLUX.1-dev" in asks for asks in donors.obligations) is shown


def test_source_and_release_are_the_owners_words_or_not_stated(finished):
    of = {own.of: own for own in list_licences(with_(finished))}
    assert (of["source"].licence, of["release"].licence) == ("not stated by the owner",) * 2
    of = {own.of: own for own in list_licences(with_(finished, source_licence="CC BY-NC 4.0", licence="CC-BY-4.0"))}
    assert (of["source"].licence, of["release"].licence) == ("CC BY-NC 4.0", "CC-BY-4.0")
    assert "No commercial use." in of["source"].obligations
    assert find_contradictions(with_(finished, source_licence="CC BY-NC 4.0", licence="CC-BY-4.0")) == (
        "The source's licence forbids commercial use (NC), the release's permits it.",
    )


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("CC-BY-4.0", {"by"}),
        ("CC BY-NC-SA 4.0", {"by", "nc", "sa"}),
        ("cc by nd 2.0", {"by", "nd"}),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/", {"by", "nc", "nd"}),
        ("CC0-1.0", set()),
        ("https://creativecommons.org/publicdomain/zero/1.0/", set()),
        ("photos CC BY 4.0 and CC BY-NC 4.0", None),
        ("CC BY 4.0 or CC0", None),
        ("MIT", None),
        ("by agreement", None),
        ("research use only", None),
    ],
)
def test_creative_commons_licences_are_known_by_their_elements(text, elements):
    assert elements_of(text) == (None if elements is None else frozenset(elements))


@pytest.mark.parametrize(
    ("source", "own", "word"),
    [
        ("CC BY-ND 4.0", "CC BY-ND 4.0", "ND"),
        ("CC BY-NC 4.0", "CC BY 4.0", "NC"),
        ("CC BY-SA 4.0", "CC BY 4.0", "SA"),
        ("CC BY 4.0", "CC0-1.0", "BY"),
        ("CC BY 4.0", "CC BY-NC 4.0", ""),
        ("CC BY-NC-SA 4.0", "CC BY-NC-SA 4.0", ""),
        ("CC0-1.0", "CC BY 4.0", ""),
        ("terms of a website", "CC BY 4.0", ""),
    ],
)
def test_a_release_that_permits_what_its_source_forbids_is_named(source, own, word):
    assert [f"({word})" in text for text in contradictions(source, own)] == ([True] if word else [])


def test_unknown_terms_are_to_be_read():
    assert list(obligations_of("terms of a website", "source")) == ["Read it: anon-batch does not know what it asks."]


def test_the_file_claims_nothing_and_is_written_alike_twice(finished):
    write_licences(finished)
    first = finished.release.read("licences.json")
    write_licences(finished)
    assert finished.release.read("licences.json") == first
    assert promises_in(first.decode()) == []
    assert {own["of"] for own in json.loads(first)["licences"]} == {"source", "release", "tool"}
