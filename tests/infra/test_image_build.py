"""The image is built and run, where Debian's tools for that are installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_image import Image, build_image, remove_image

from anon_batch import __version__

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        yield build_image(folder)
    finally:
        remove_image(folder)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_image_runs_a_job_where_only_tmp_can_be_written(image: Image, tmp_path: Path) -> None:
    assert image.config["User"] == "1000:1000"
    assert image.config["Labels"]["org.opencontainers.image.version"] == __version__
    tried = image.run("sh", "-c", "touch /x; touch ~/x; touch /tmp/x && id -u", data=tmp_path)
    assert tried.stdout.split() == ["1000"]
    assert tried.stderr.count("Read-only file system") == 2

    shutil.copytree(PHOTOS, tmp_path / "photos")
    run = "anon-batch run --manifest manifest.parquet --output release --set engine.workers=1"
    residual = "--set checks.residual.detectors=[yunet_n] --set checks.residual.share=1.0 --set gates.withheld=1.0"
    listed = "anon-batch manifest photos -o manifest.parquet"
    done = image.run("sh", "-ec", f"cd /data; {listed}; {run} {residual}; anon-batch verify release", data=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 rows" in done.stdout
    assert "telemetry" not in done.stderr


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_image_has_what_a_node_of_ray_up_needs(image: Image, tmp_path: Path) -> None:
    programs = (
        "command -v bash && command -v rsync && command -v ssh && command -v ps && command -v wget && command -v ray"
    )
    providers = ", ".join(f"ray.autoscaler._private.{cloud}.node_provider" for cloud in ("aws", "gcp"))
    modules = f"import boto3, googleapiclient, gcsfs, {providers}"
    done = image.run("bash", "--login", "-c", f"{programs} && python -c '{modules}'", data=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
