"""Servers and the Ray cluster that tests share, the lanes, and a wall between tests and the machine's cloud settings."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from lanes import Lanes, add_options
from metadata_scanner import releases_below, scan_release
from servers import S3Server, ceph_server, free_ports, moto_server, ray_cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Lanes(config))
    settings.register_profile("no deadline", deadline=None)  # because other work on the machine slows single examples
    settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def _no_cloud_settings_of_this_machine() -> Iterator[None]:
    """No test may find real credentials, or behave differently because of a profile in somebody's home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        # Without it a client that has no keys waits for an address off loopback.
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield


# They damage releases to see that it is found, or sign images, of which the scanner knows nothing.
_PLANTING = ("test_verify.py", "test_metadata_scanner.py", "test_sign_release.py", "test_reveal_credentials.py")


@pytest.fixture(scope="module", autouse=True)
def _published_images_hold_pixels_alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Scan every release that the tests of a module made on the local disk; the scanner shares no code with the package."""
    folder = tmp_path_factory.getbasetemp()
    before = set(folder.iterdir())
    yield
    if request.path.name not in _PLANTING:
        made = [release for new in sorted(set(folder.iterdir()) - before) for release in releases_below(new)]
        assert [f"{release}: {finding}" for release in made for finding in scan_release(release)] == []


@pytest.fixture(scope="session")
def ray_metrics_port() -> int:
    """Port at which the cluster of `ray_address` shows its metrics."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def ray_address(ray_metrics_port: int) -> Iterator[str]:
    """Address of a Ray cluster that all runs join that kill nothing and need no environment of their own."""
    with ray_cluster(num_cpus=4, metrics_port=ray_metrics_port) as address:
        yield address


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[S3Server]:
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))  # not tmp_path: the paths of its sockets must stay short
    try:
        with ceph_server(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["moto", pytest.param("ceph", marks=pytest.mark.ceph)])
def s3(request: pytest.FixtureRequest) -> S3Server:
    """Each server in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, S3Server)
    return server
