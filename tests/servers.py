"""Servers for tests, as processes of their own on loopback: a Ray cluster, moto, and a one-node Ceph where it is installed."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from releases import environment

from anon_batch.config import StorageConfig

_CEPH_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_CEPH_INSTALL = "apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server.

    Args:
        endpoint_url: http address on loopback.
        access_key, secret_key: of a user, who may do everything in buckets of their own.
    """

    endpoint_url: str
    access_key: str = "testkey"
    secret_key: str = field(default="testsecret1234567890", repr=False)

    def of_reader(self) -> S3Server:
        """The same server for Ceph's user `reader`, who has no buckets and sees what bucket policies let them see."""
        return dataclasses.replace(self, access_key="readerkey", secret_key="readersecret12345678")

    @property
    def env(self) -> dict[str, str]:
        """The AWS_* variables by which any client finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def options(self) -> dict[str, str]:
        """fsspec's options by which s3fs finds the server, whatever the environment says."""
        return {"endpoint_url": self.endpoint_url, "key": self.access_key, "secret": self.secret_key}

    def config(self, **more: Any) -> StorageConfig:
        """Settings of a Storage for this server: few tries and short pauses, as all is near."""
        return StorageConfig(
            **{"options": {"s3://": self.options}, "retries": 3, "retry_wait_s": 0.01, "retry_for_s": 0, **more}
        )

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A boto3 client: the view of somebody else than this package."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )
        try:
            yield client
        finally:
            client.close()

    def new_bucket(self) -> str:
        """A new empty bucket; returns its name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        with self.client() as client:
            client.create_bucket(Bucket=name)
        return name


_RAY = """
import sys
from ray.cluster_utils import Cluster

head = {"num_cpus": int(sys.argv[1]), "metrics_export_port": int(sys.argv[2]), "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextlib.contextmanager
def ray_cluster(num_cpus: int, metrics_port: int) -> Iterator[str]:
    """Run a Ray cluster of one node and yield its address. It shows its metrics at `metrics_port`.

    It ends with the test process, whatever ends that one, because its standard input is closed then.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _RAY, str(num_cpus), str(metrics_port)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            address = process.stdout.readline().decode().strip()
            log.seek(0)
            assert address, f"Ray did not start: {log.read().decode(errors='replace')}"
            yield address
        try:
            process.wait(30)
        finally:
            _end(process)


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto's server: it knows the protocol, keeps bodies in memory and checks no digest of them."""
    with tempfile.TemporaryFile() as log:
        arguments = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            endpoint = ""

            def announced() -> bool:
                nonlocal endpoint
                log.seek(0)
                text = log.read().decode(errors="replace")
                assert process.poll() is None, f"moto's server ended: {text}"
                if found := re.search(r"http://127\.0\.0\.1:\d+", text):
                    endpoint = found.group()
                return bool(endpoint)

            wait_for(announced, "moto's server to name its port", 60)
            wait_for(lambda: _answers(endpoint), "moto's server to answer", 60)
            yield S3Server(endpoint)
        finally:
            _end(process)


@contextlib.contextmanager
def ceph_server(folder: Path) -> Iterator[S3Server]:
    """Ceph's S3 gateway with one monitor and one OSD that keeps objects in memory.

    Args:
        folder: empty; configuration, sockets and logs. Short, as socket paths are bounded by about 100 characters.

    Skips the test where Ceph is not installed.
    """
    missing = [name for name in _CEPH_PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; {_CEPH_INSTALL}")
    monitor_port, gateway_port = free_ports(2)
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    config = folder / "ceph.conf"
    config.write_text(_CEPH_CONFIG.format(folder=folder, fsid=fsid, monitor=monitor_port, gateway=gateway_port))
    for name in ("osd", "mon", "rgw"):
        (folder / name).mkdir()
    server = S3Server(f"http://127.0.0.1:{gateway_port}")
    monmap = folder / "monmap"
    monitor_at = f"[v2:127.0.0.1:{monitor_port}/0]"
    _finish(folder, "monmaptool", "--create", "--clobber", "--addv", "a", monitor_at, "--fsid", fsid, str(monmap))
    _finish(folder, "ceph-mon", "-c", str(config), "--mkfs", "-i", "a", "--monmap", str(monmap))
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> None:
            stack.enter_context(_daemon(folder, arguments[0], *arguments[1:], "-c", str(config), "-f"))

        ceph = ("ceph", "-c", str(config), "--connect-timeout", "30")
        start("ceph-mon", "-i", "a")
        _finish(folder, *ceph, "osd", "new", osd)
        _finish(folder, "ceph-osd", "-c", str(config), "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", "-i", "0")
        wait_for(lambda: "1 up" in _finish(folder, *ceph, "osd", "stat"), "Ceph's OSD", 120)
        start("radosgw", "-n", "client.rgw.a")
        wait_for(lambda: _answers(server.endpoint_url), "Ceph's gateway", 180)
        admin = ("radosgw-admin", "-c", str(config), "-n", "client.rgw.a", "--admin-socket=")
        for name, user in (("test", server), ("reader", server.of_reader())):
            keys = (f"--access-key={user.access_key}", f"--secret-key={user.secret_key}")
            _finish(folder, *admin, "user", "create", f"--uid={name}", f"--display-name={name}", *keys)
        yield server


# auth none: nothing outside this machine reaches the ports. The gateway would wait for ever for a monitor that has no
# keys unless `ms mon client mode` says crc. Encryption over plain http has to be allowed.
_CEPH_CONFIG = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file =
keyring = {folder}/keyring
debug none = 0/0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data = {folder}/mon
mon data avail crit = 1
mon data avail warn = 2
osd data = {folder}/osd
osd objectstore = memstore
osd max object name len = 2048
memstore device bytes = 2147483648
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}/rgw
rgw enable usage log = false
rgw thread pool size = 64
rgw crypt require ssl = false
"""


@contextlib.contextmanager
def _daemon(folder: Path, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{program}.out").open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield process
        finally:
            _end(process)


@contextlib.contextmanager
def running(command: list[str], endpoint: str) -> Iterator[None]:
    """Run a server until the block ends; the block begins when the server answers at `endpoint`."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for(lambda: _answers(endpoint), f"{command[0]} to answer", 60)
            yield
        finally:
            _end(process)


def _finish(folder: Path, *arguments: str) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-2000:]}"
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(15)


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(endpoint, timeout=2):
            return True
    except urllib.error.HTTPError as exc:
        with exc:  # it holds the connection
            return exc.code < 500
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
