"""Builds infra/Dockerfile for real, without network, and runs what comes out as Kubernetes would.

The base image cannot be had from everywhere, so that Debian's own Python of the same minor version stands for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from external_data import MODELS, NO_TOOL, NO_WEIGHTS

VARIABLE = "ANON_BATCH_TEST_IMAGE"
ROOT = Path(__file__).parents[1]
_PROGRAMS = {"mmdebstrap": "mmdebstrap", "buildah": "buildah", "runc": "runc"}
_DEBIAN = "ca-certificates,netbase,tzdata,python3,python3-pip,libgl1,libglib2.0-0,wget,rsync,openssh-client,procps"
_BASE = """\
FROM scratch
ADD base.tar /
RUN ln -s /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
"""
# What Docker mounts with --read-only --tmpfs /tmp --shm-size 1g.
_MOUNTS = (
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "mode=755"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=1g"]),
    ("/tmp", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
)


@dataclass(frozen=True)
class Image:
    """An image that was built.

    Args:
        root: its file system.
        config: as in the image: user, variables, labels, command.
        folder: for bundles.
    """

    root: Path
    config: dict[str, Any]
    folder: Path

    def run(self, *command: str, data: Path) -> subprocess.CompletedProcess[str]:
        """Run a command in a container without network that sees `data` as /data."""
        user, _, group = self.config["User"].partition(":")
        os.chown(data, int(user), int(group))
        capabilities = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted")}
        mounts = [*_MOUNTS, ("/data", "bind", str(data), ["rbind", "rw"])]
        config = {
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": int(user), "gid": int(group)},
                "args": list(command),
                "cwd": self.config["WorkingDir"],
                "env": self.config["Env"],
                "noNewPrivileges": True,
                "capabilities": capabilities,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                {"destination": place, "type": kind, "source": source, "options": options}
                for place, kind, source, options in mounts
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
        }
        (self.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        name = f"anon-batch-{os.getpid()}"
        arguments = ["runc", "--root", str(self.folder / "runc"), "run", "--bundle", str(self.folder), name]
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


def build_image(folder: Path) -> Image:
    """Build the CPU variant from folders of wheels and weights, in a network that reaches nothing."""
    if VARIABLE not in os.environ:
        pytest.skip(f"{NO_TOOL}{VARIABLE} is not set: the build takes 5 to 15 minutes, 4 GB of disk and the network")
    missing = sorted(package for name, package in _PROGRAMS.items() if shutil.which(name) is None)
    if missing or os.geteuid() != 0:
        pytest.skip(f"{NO_TOOL}as root, apt-get install -y --no-install-recommends {' '.join(_PROGRAMS.values())}")
    if not MODELS.is_dir():
        pytest.skip(f"{NO_WEIGHTS}no folder with weights")
    base, wheels = folder / "base", folder / "wheels"
    for path in (base, wheels, folder / "bundle"):
        path.mkdir(parents=True)
    _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_DEBIAN}", "bookworm", str(base / "base.tar"))
    (base / "Dockerfile").write_text(_BASE, encoding="utf-8")
    lock = "requirements-cpu.lock"
    _run(*f"{sys.executable} -m pip download --quiet --no-deps --require-hashes -d {wheels} -r infra/{lock}".split())
    storage = f"--root {folder}/storage --runroot {folder}/run --storage-driver overlay".split()
    _run("buildah", *storage, "bud", "--isolation", "chroot", "-t", "base", str(base))
    options = f"--isolation chroot -f infra/Dockerfile --ignorefile infra/Dockerfile.dockerignore -t anon-batch {ROOT}"
    options = f"--build-context wheels={wheels} --build-context models={MODELS} {options}"
    given = {"BASE": "localhost/base", "LOCK": lock, "PIP_OPTIONS": "--no-index --find-links /mnt/wheels"}
    arguments = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
    _run("unshare", "--net", "buildah", *storage, "bud", *arguments, *options.split())
    container = _run("buildah", *storage, "from", "--isolation", "chroot", "localhost/anon-batch").strip()
    root = _run("buildah", *storage, "mount", container).strip()
    described = json.loads(_run("buildah", *storage, "inspect", "--type", "image", "localhost/anon-batch"))
    return Image(Path(root), described["OCIv1"]["config"], folder / "bundle")


def remove_image(folder: Path) -> None:
    """Unmount what `build_image` mounted and delete all of it."""
    storage = f"--root {folder}/storage --runroot {folder}/run --storage-driver overlay".split()
    if (folder / "storage").exists():
        _run("buildah", *storage, "rm", "--all")
        _run("buildah", *storage, "rmi", "--all", "--force")
    shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{' '.join(command[:3])}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
