"""Write infra/sbom.cdx.json, the list of everything in the container image (CycloneDX 1.6). Run: `python -m tools.sbom`.

It holds the packages of infra/requirements.lock (their digests stand there) with their licences, and the weights that they
carry. Licences come from infra/licences.json; `--licences` adds those of the packages that are installed here.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from importlib import metadata
from typing import Any

from anon_batch import __version__
from anon_batch.models.registry import MODELS, ModelEntry
from tools.lock import LOCKS, ROOT, Locked, read_lock

SBOM = ROOT / "infra/sbom.cdx.json"
LICENCES = ROOT / "infra/licences.json"
NOT_STATED = "NOASSERTION"
_PRODUCT = f"pkg:pypi/anon-batch@{__version__}"
_EXPRESSION = re.compile(r"^[A-Za-z0-9.+-]+( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*$")


def build() -> dict[str, Any]:
    """Return the document."""
    packages = read_lock(LOCKS["cuda"])
    licences = json.loads(LICENCES.read_text(encoding="utf-8"))
    lock_sha256 = hashlib.sha256(LOCKS["cuda"].read_bytes()).hexdigest()
    weights = [entry for entry in MODELS.values() if entry.package is not None]
    product = {
        "type": "application",
        "name": "anon-batch",
        "version": __version__,
        "bom-ref": _PRODUCT,
        "purl": _PRODUCT,
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {**product, "licenses": [{"license": {"id": "Apache-2.0"}}]},
            "properties": [{"name": "anon-batch:sha256-of-requirements.lock", "value": lock_sha256}],
        },
        "components": [
            *(_package(package, licences.get(package.name, NOT_STATED)) for package in packages),
            *(_weights(entry) for entry in weights),
        ],
        "dependencies": _dependencies(packages, weights),
    }


def _purl(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _package(package: Locked, licence: str) -> dict[str, Any]:
    component = {
        "type": "library",
        "name": package.name,
        "version": package.version,
        "bom-ref": _purl(package),
        "purl": _purl(package),
    }
    return component if licence == NOT_STATED else {**component, "licenses": [_licence(licence)]}


def _licence(text: str) -> dict[str, Any]:
    if _EXPRESSION.match(text) and " " not in text and not text.startswith("LicenseRef-"):
        return {"license": {"id": text}}
    return {"expression": text} if _EXPRESSION.match(text) else {"license": {"name": text}}


def _weights(entry: ModelEntry) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "name": entry.name,
        "version": entry.sha256[:12],
        "bom-ref": f"weights:{entry.name}",
        "description": f"{entry.filename}, {entry.size_bytes} bytes; trained on {entry.trained_on}",
        "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
        "licenses": [_licence(entry.licence)],
        "properties": [{"name": "anon-batch:file", "value": str(entry.package)}],
    }


def _dependencies(packages: list[Locked], weights: list[ModelEntry]) -> list[dict[str, Any]]:
    refs = {package.name: _purl(package) for package in packages}
    needs: dict[str, list[str]] = {ref: [] for ref in (_PRODUCT, *refs.values())}
    for package in packages:
        users = [refs[user] for user in package.needed_by if user in refs]
        for user in users or [_PRODUCT]:
            needs[user].append(refs[package.name])
        if "anon-batch" in package.needed_by and users:
            needs[_PRODUCT].append(refs[package.name])
    needs[_PRODUCT] += [f"weights:{entry.name}" for entry in weights]
    return [{"ref": ref, "dependsOn": sorted(found)} for ref, found in sorted(needs.items())]


def installed_licences() -> dict[str, str]:
    """Return package -> licence of the locked packages that are installed here, as they state it."""
    found = {}
    for package in read_lock(LOCKS["cuda"]):
        try:
            fields = metadata.metadata(package.name)
        except metadata.PackageNotFoundError:
            continue
        classifiers = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier", []) if c.startswith("License ::")]
        stated = (
            fields.get("License-Expression") or ", ".join(classifiers) or (fields.get("License") or "").splitlines()[:1]
        )
        text = stated if isinstance(stated, str) else "".join(stated)
        if text:
            found[package.name] = text.strip()
    return found


def main(arguments: list[str]) -> None:
    """Write the document; with `--licences` collect licences first."""
    if "--licences" in arguments:
        known = json.loads(LICENCES.read_text(encoding="utf-8")) if LICENCES.exists() else {}
        LICENCES.write_text(
            json.dumps({**known, **installed_licences()}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
    SBOM.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
