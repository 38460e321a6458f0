"""Requests and price of detectors that are services."""

from __future__ import annotations

import pytest
from face_services import Services
from pipeline_fixtures import job, write_dataset

from anon_batch.estimate.cost import Prices, estimate_job
from anon_batch.estimate.measure import measure

pytest.importorskip("boto3", reason="the extra `rekognition` is not installed")


def test_requests_of_the_sample_are_scaled_and_priced(monkeypatch, tmp_path):
    services = Services(monkeypatch, tmp_path)
    stub = services.start("rekognition", lambda data: {"FaceDetails": []})
    write_dataset(str(tmp_path), [f"{index}.png" for index in range(6)])
    options = {"region": "eu-west-1", "requests_per_s": 1000, "price_per_1000": 500}
    detect = {"allow_upload": True, "detectors": [{"name": "rekognition", "options": options}]}
    config = job(str(tmp_path), detect=detect, engine={"workers": 1})
    found = measure(config, 3, lambda line: None)
    services.stop()
    assert found.service_requests == {"rekognition": 3}
    assert stub.images
    whole = estimate_job(found, config, [1], Prices(worker_hour=0.0))
    [service] = whole.services
    assert (service.requests, service.cost) == (6, 3.0)
    assert whole.widths[0].cost == pytest.approx(3.0)
