"""A release says to which services its originals were sent, wherever it says what made it."""

from __future__ import annotations

import dataclasses

import pytest
from pipeline_fixtures import job, release, write_dataset

from anon_batch.formats.release import Release
from anon_batch.formats.services import read_service
from anon_batch.pipeline.fingerprint import fingerprint
from anon_batch.release.licences import declared_models, list_licences
from anon_batch.release.report.finished import read_finished
from anon_batch.release.report.sections.contents import models_section
from anon_batch.release.risk.counted import services
from anon_batch.release.signature.attestation import _dependency
from anon_batch.release.words.limits import list_limits
from anon_batch.storage import Storage

MODEL = "rekognition@eu-west-1/2016-06-27"
SAID = "Amazon Rekognition (DetectFaces), region eu-west-1, API version 2016-06-27"
WEIGHTS = f"mine@{'1' * 64}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("services"))
    write_dataset(folder, ["a.png"])
    release(job(folder))
    return read_finished(Release(Storage(), f"{folder}/out"))


def with_models(finished, *models, detectors=()):
    config = {**finished.run.config, "detect": {"detectors": list(detectors)}}
    return dataclasses.replace(finished, run=dataclasses.replace(finished.run, models=models, config=config))


def test_entries_of_services_and_of_weights_differ():
    assert read_service(MODEL).said == SAID
    assert read_service("google_vision@eu/v1").region == "eu"
    for model in (WEIGHTS, f"rekognition@{'1' * 64}", "rekognition", "centerface@eu/v1"):
        assert read_service(model) is None


def test_licences_limits_risk_and_report_name_the_service(finished):
    own = with_models(finished, MODEL)
    [licence] = [licence for licence in list_licences(own) if licence.of == "service"]
    assert licence.name == SAID
    assert "Originals were sent" in licence.obligations[0]
    limits = " ".join(list_limits(own.run, {}, 0, (), models=[MODEL]))
    assert f"The originals were sent to a service, {SAID}" in limits
    assert "service" not in " ".join(list_limits(own.run, {}, 0, (), models=[WEIGHTS]))
    [entry] = services(own)
    assert (entry.value, entry.note) == (1, SAID)
    assert services(with_models(finished, WEIGHTS)) == ()
    assert SAID in str(models_section(own.run, ()))


def test_a_run_may_be_resumed_with_other_resources_of_a_service():
    def keys(**options):
        detectors = [{"name": "rekognition", "options": {"region": "eu-west-1", **options}}]
        checks = {"checks.residual": {"detectors": [{"name": "google_vision", "options": {"region": "eu", **options}}]}}
        config = job("folder", detect={"allow_upload": True, "detectors": detectors}, **checks)
        return fingerprint(config, "0", 1, [MODEL], b"key")

    assert keys() == keys(requests_per_s=0.5, attempts=9, timeout_s=3, price_per_1000=0)
    assert keys() != keys(side_px=640)
    assert keys() != keys(region="us-east-1")


def test_a_signed_statement_names_no_digest_of_a_service():
    assert _dependency(MODEL) == {"name": SAID, "uri": "https://rekognition.eu-west-1.amazonaws.com/"}
    assert _dependency(WEIGHTS) == {"name": "mine", "digest": {"sha256": "1" * 64}}


def test_what_the_job_says_of_its_own_files_is_shown(finished):
    options = {"model": "mine", "licence": "CC-BY-4.0"}
    own = with_models(finished, WEIGHTS, detectors=[{"name": "retinaface", "options": options}, {"name": "centerface"}])
    assert declared_models(own.run) == {"mine": ("CC-BY-4.0", "not stated by the job")}
    [licence] = [licence for licence in list_licences(own) if licence.name == "mine"]
    assert (licence.licence, licence.trained_on) == ("CC-BY-4.0", "not stated by the job")
    assert "CC-BY-4.0" in str(models_section(own.run, ()))
