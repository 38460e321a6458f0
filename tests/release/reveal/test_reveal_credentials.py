"""Content Credentials and sealed originals in one release."""

from __future__ import annotations

from pathlib import Path

from certificates import make_certificates
from cryptography.hazmat.primitives.asymmetric import ec
from pipeline_fixtures import release, verdict
from seal_fixtures import dataset, is_source, open_all, sealed_job

from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.release.c2pa.sign_release import sign_images
from anon_batch.release.c2pa.signer import load_signer
from anon_batch.storage import Storage


def test_content_credentials_leave_the_seals_as_they_are(tmp_path: Path) -> None:
    run = release(sealed_job(dataset(tmp_path), anonymize__face__method="swap"))
    pem = make_certificates(ec.generate_private_key(ec.SECP256R1()))
    place = Release(Storage(), run.release.uri)
    sign_images(place, Ledger(Storage(), run.ledger.uri), load_signer(pem[0], "key", pem[1], "cert"), lambda _: None)
    opened = open_all(run)
    assert len(opened) == 4
    assert all(is_source(name, own) for name, own in opened.items())
    assert verdict(run).faults == []
