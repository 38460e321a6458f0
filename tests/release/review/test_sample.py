"""What is drawn for a review, and how its outputs are read."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline_fixtures import job, release
from review_releases import LAYOUTS, Made, make_release
from servers import S3Server

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.release import Release
from anon_batch.pipeline.run import open_run
from anon_batch.release.review.draw import ReviewSettings, draw_sample
from anon_batch.release.review.outputs import decode_output, read_outputs
from anon_batch.release.review.sample import stratum_of
from anon_batch.storage import Storage

SETTINGS = ReviewSettings(claim=0.3, allow_uncaught=0)


def drawn(made: Made, settings: ReviewSettings = SETTINGS) -> list[str]:
    return [own.image_id for own in draw_sample(made.release, settings).outputs]


def test_the_sample_depends_on_ids_and_seed_alone(made: Callable[[str], Made], tmp_path: Path) -> None:
    samples = [drawn(made(layout)) for layout in LAYOUTS]
    samples.append(drawn(make_release(tmp_path, "files", engine__shard_rows=8)))
    assert samples[0] == samples[1] == samples[2] == samples[3]
    assert drawn(made("files"), ReviewSettings(claim=0.3, seed=1, allow_uncaught=0)) != samples[0]


def test_every_stratum_gives_its_share_and_no_output_is_drawn_twice(made: Callable[[str], Made]) -> None:
    sample = draw_sample(made("files").release, SETTINGS)
    assert dict(sample.plan.strata) == {"anonymized, 1 region: face": 20, "clean": 20}
    assert Counter(own.stratum for own in sample.outputs) == sample.plan.images
    every = [own.image_id for own in (*sample.outputs, *sample.spare)]
    assert len(every) == len(set(every)) == 40


def test_strata_are_named_by_status_regions_and_labels() -> None:
    assert stratum_of("clean", []) == "clean"
    assert stratum_of("anonymized", ["face"]) == "anonymized, 1 region: face"
    assert stratum_of("anonymized", ["plate", "face", "face"]) == "anonymized, 2 to 4 regions: face and plate"
    assert stratum_of("anonymized", ["face"] * 5) == "anonymized, more regions: face"


def test_a_claim_that_needs_everything_takes_everything(made: Callable[[str], Made]) -> None:
    sample = draw_sample(made("files").release, ReviewSettings(claim=0.001))
    assert len(sample.outputs) == 40
    assert not sample.spare


def test_the_digest_is_of_these_very_files(tmp_path: Path) -> None:
    made = make_release(tmp_path)
    other = make_release(tmp_path / "other", anonymize__face__method="pixelate")
    one, two = (draw_sample(own.release, SETTINGS) for own in (made, other))
    assert [own.image_id for own in one.outputs] == [own.image_id for own in two.outputs]
    assert one.sha256 != two.sha256
    assert one.sha256 == draw_sample(made.release, SETTINGS).sha256


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_are_read_from_every_layout(made: Callable[[str], Made], layout: str) -> None:
    own = made(layout)
    sample = draw_sample(own.release, SETTINGS)
    read = {output.image_id: decode_output(output, data) for output, data in read_outputs(own.release, sample.outputs)}
    assert sorted(read) == sorted(output.image_id for output in sample.outputs)
    for output in sample.outputs:
        original = own.originals[output.image_id]
        changed = (read[output.image_id] != original).any(axis=2)
        inside = np.zeros_like(changed)
        for (x1, y1, x2, y2), *_ in output.regions:
            inside[y1:y2, x1:x2] = True
        assert not (changed & ~inside).any()
        assert changed.any() == bool(output.regions)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_or_missing_output_is_an_integrity_error(layout: str, tmp_path: Path) -> None:
    own = make_release(tmp_path, layout)
    sample = draw_sample(own.release, SETTINGS)
    victim = Path(own.release.uri, sample.outputs[0].key)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 255
    victim.write_bytes(data)
    with pytest.raises(IntegrityError):
        list(
            read_outputs(
                own.release, [own for own in (*sample.outputs, *sample.spare) if own.key == sample.outputs[0].key]
            )
        )
    victim.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        list(read_outputs(own.release, sample.outputs))


def test_releases_that_cannot_be_reviewed_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no release here"):
        draw_sample(Release(Storage(), str(tmp_path / "nowhere")), SETTINGS)
    own = make_release(tmp_path, count=8)
    shutil.rmtree(own.release.uri)
    shutil.rmtree(f"{own.release.uri}-ledger")
    run, _ = open_run(job(str(tmp_path)), ())
    with pytest.raises(ConfigError, match=r"not finished.*run the same job again"):
        draw_sample(run.release, SETTINGS)


def test_a_release_without_images_is_refused(tmp_path: Path) -> None:
    own = make_release(tmp_path, count=4, engine__stop_after_uniform_failures=0)
    for path in (tmp_path / "very private source").iterdir():
        path.write_bytes(b"broken")
    shutil.rmtree(own.release.uri)
    shutil.rmtree(f"{own.release.uri}-ledger")
    run = release(job(str(tmp_path)))
    with pytest.raises(ConfigError, match="no image was published"):
        draw_sample(run.release, SETTINGS)


@pytest.mark.parametrize("claim", [0.0, 1.0, -0.1, float("nan")])
def test_a_claim_outside_its_range_is_refused(claim: float) -> None:
    with pytest.raises(ConfigError, match="claim"):
        ReviewSettings(claim=claim)


@pytest.mark.full
@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_are_read_from_a_bucket(moto: S3Server, layout: str, tmp_path: Path) -> None:
    own = make_release(tmp_path, layout)
    storage, bucket = Storage(moto.config()), f"s3://{moto.new_bucket()}"
    for path in Path(own.release.uri).rglob("*.*"):
        storage.put(f"{bucket}/out/{path.relative_to(own.release.uri)}", path.read_bytes())
    there = Release(storage, f"{bucket}/out")
    sample = draw_sample(there, SETTINGS)
    assert [output.image_id for output in sample.outputs] == drawn(own)
    assert len(list(read_outputs(there, sample.outputs))) == len(sample.outputs)
