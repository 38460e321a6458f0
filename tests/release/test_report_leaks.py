"""No address, digest, key, metadata or withheld column of a source is in a public page or JSON file, however it is written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from leaks import assert_public, secrets_of
from PIL import Image
from pipeline_fixtures import RUN_KEY, job, release, write_dataset
from report_evidence import add_all
from report_pages import html_of

from anon_batch.formats import layout
from anon_batch.release.verdict import check_release

PLANTED = ["Zanzibar-Canary-Camera", "canary.person@example.test", "https://canary.example.test/photo?sig=abcdef"]
PAGES = {layout.RUN, layout.STATS, layout.GATES, layout.EVALUATION, layout.REVIEW, layout.REPORT, layout.REPORT_JSON}


def _image_with_exif(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 200, (20, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = PLANTED[0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["files", "webdataset", "parquet"])
def test_no_public_page_or_json_holds_a_secret(tmp_path: Path, how: str) -> None:
    secret = tmp_path / "SECRETPLACE"
    ids = [f"{n}.jpg" for n in range(6)]
    extra = {"contact": pa.array([PLANTED[1]] * 6), "origin": pa.array([PLANTED[2]] * 6)}
    write_dataset(str(secret), ids, extra)
    for index, image_id in enumerate(ids):
        (secret / "src" / image_id).write_bytes(_image_with_exif(index))
    (secret / "src" / "3.jpg").write_bytes(b"not an image: " + PLANTED[0].encode())
    run = release(job(str(secret), str(tmp_path / "public" / "out"), write__layout=how))
    check_release(run.release, run.ledger)
    add_all(run.release)
    html_of(run.release.uri)
    secrets = [*PLANTED, *secrets_of((secret / "src").iterdir(), Path(run.ledger.uri)), RUN_KEY, run.config.manifest]
    public = Path(run.release.uri)
    found = {str(path.relative_to(public)) for path in public.rglob("*") if path.suffix in (".json", ".html")}
    assert found == PAGES | {layout.REPORT_VERDICT}
    for name in sorted(found):
        content = (public / name).read_bytes()
        assert_public(content, [*secrets, str(public)])
        with pytest.raises(AssertionError):
            assert_public(content + secrets[-1].encode().hex().encode(), secrets)
    for part in (public / "provenance").iterdir():
        assert_public(part.read_bytes(), secrets)
