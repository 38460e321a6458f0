"""The lock installs what the project needs and nothing unnamed; the list of contents is the lock's and the weights'."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from anon_batch.models.registry import MODELS
from tools import sbom
from tools.lock import LOCKS, PYTHON_VERSION, Locked, read_lock

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {
    "python_version": PYTHON_VERSION,
    "python_full_version": f"{PYTHON_VERSION}.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
    "extra": "",
}


@pytest.fixture(params=sorted(LOCKS))
def lock(request: pytest.FixtureRequest) -> dict[str, Locked]:
    return {package.name: package for package in read_lock(LOCKS[request.param])}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [
        *map(Requirement, project["project"]["dependencies"]),
        *map(Requirement, project["build-system"]["requires"]),
    ]


def test_the_lock_satisfies_the_project(lock: dict[str, Locked]) -> None:
    missing = [
        str(r)
        for r in requirements()
        if not r.specifier.contains(lock[canonicalize_name(r.name)].version.partition("+")[0])
    ]
    assert missing == [], "run `python -m tools.lock`"
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if version and name in lock:
            assert lock[name].version.partition("+")[0] == version


def test_every_package_has_digests_and_a_user(lock: dict[str, Locked]) -> None:
    assert len(lock) > 90
    for package in lock.values():
        assert package.digests, package.name
        assert package.needed_by, package.name
        assert Version(package.version)


def test_the_lock_is_complete(lock: dict[str, Locked]) -> None:
    """What the locked packages need, as far as they are installed here, is locked in a version that fits."""
    compared = 0
    for package in lock.values():
        try:
            installed = metadata.distribution(package.name)
        except metadata.PackageNotFoundError:
            continue
        if Version(installed.version).public != Version(package.version).public:
            continue
        compared += 1
        for text in installed.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate(_ENVIRONMENT):
                found = lock.get(canonicalize_name(needed.name))
                if found is None and needed.name.startswith(("nvidia-", "cuda-", "triton")):
                    continue  # torch's own, in the build with CUDA alone
                assert found is not None, f"{package.name} needs {text}"
                assert needed.specifier.contains(Version(found.version).public, prereleases=True), (
                    f"{package.name}: {text}"
                )
    assert compared > 30, "too few installed packages are the locked ones to tell"


@pytest.mark.parametrize("path", sorted((ROOT / "infra").glob("*.lock")), ids=lambda path: path.name)
def test_no_address_of_an_index_is_in_a_lock(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"://|--index-url|--extra-index|--find-links|--trusted-host| @ ", text)


def test_the_dockerfile_installs_the_lock_alone() -> None:
    text = (ROOT / "infra/Dockerfile").read_text(encoding="utf-8")
    assert "pip install --no-cache-dir --require-hashes ${PIP_OPTIONS} -r infra/${LOCK}" in text
    assert "ARG LOCK=requirements.lock" in text
    installs = re.findall(r"pip install ([^\n&]*)", text)
    assert len(installs) == 2
    assert "--no-deps" in installs[1]
    assert "--no-build-isolation" in installs[1], "a build environment would be filled from no lock"
    ignored = (ROOT / "infra/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    for source in " ".join(copied).split():
        assert any(source in (line[1:], line[1:].removesuffix("/**")) for line in ignored if line.startswith("!"))


def test_the_list_of_contents_is_current() -> None:
    document = json.loads(sbom.SBOM.read_text(encoding="utf-8"))
    assert document == sbom.build(), "run `python -m tools.sbom`"


def test_the_list_of_contents_names_every_package_and_weight() -> None:
    document = sbom.build()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    by_type: dict[str, dict[str, dict[str, object]]] = {}
    for component in document["components"]:
        by_type.setdefault(component["type"], {})[component["name"]] = component
    locked = {package.name: package.version for package in read_lock(LOCKS["cuda"])}
    assert {name: component["version"] for name, component in by_type["library"].items()} == locked
    carried = {name: entry for name, entry in MODELS.items() if entry.package is not None}
    assert set(by_type["machine-learning-model"]) == set(carried)
    for name, component in by_type["machine-learning-model"].items():
        assert component["hashes"] == [{"alg": "SHA-256", "content": carried[name].sha256}]
        assert component["licenses"] == [{"license": {"id": carried[name].licence}}]
    unstated = {name for name, component in by_type["library"].items() if "licenses" not in component}
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in unstated), unstated
    refs = {component["bom-ref"] for component in document["components"]}
    for edge in document["dependencies"]:
        assert set(edge["dependsOn"]) <= refs


def test_the_bundled_weights_are_those_of_the_list() -> None:
    bundled = ROOT / "anon_batch/models/bundled"
    for entry in MODELS.values():
        if entry.package is not None and entry.package.startswith("anon_batch:"):
            data = (bundled / entry.filename).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry.sha256
