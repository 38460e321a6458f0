from __future__ import annotations

import pytest

from anon_batch.cli import listing_progress
from anon_batch.cli.listing_progress import ListingProgress


def test_a_large_archive_is_announced_before_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ListingProgress()
    progress.archive("s3://b/train.tar", 0, 138_000_000_000)
    progress.archive("s3://b/train.tar", 8_388_608, 138_000_000_000)
    progress.archive("s3://b/small.tar", 0, 10_000_000)
    progress.rows(8_192)
    assert " ".join(capsys.readouterr().err.split()) == (
        "train.tar has 138.0 GB: an archive of small images is transferred once, for the headers between them; run this near the "
        "bucket"
    )


def test_what_is_listed_is_shown_from_time_to_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(listing_progress.time, "monotonic", lambda: now)
    progress = ListingProgress()
    progress.archive("s3://b/x.tar", 0, 400_000_000)
    now = 9.0
    progress.rows(4_000)
    progress.archive("s3://b/x.tar", 90_000_000, 400_000_000)
    assert capsys.readouterr().err == ""
    now = 10.0
    progress.archive("s3://b/x.tar", 100_000_000, 400_000_000)
    progress.archive("s3://b/x.tar", 110_000_000, 400_000_000)
    now = 20.5
    progress.rows(12_192)
    progress.lines("labels.csv", 8_192)
    now = 31.0
    progress.lines("labels.csv", 16_384)
    said = " ".join(capsys.readouterr().err.split())
    assert said == "x.tar: 100.0 MB of 400.0 MB, 4,000 images, 30.0 s left 12,192 images labels.csv: 16,384 lines"
