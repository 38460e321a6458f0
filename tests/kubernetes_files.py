"""The Kubernetes files of infra/: with any of their components, and schemas that refuse what they do not know."""

from __future__ import annotations

import copy
import functools
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonpatch
import jsonschema
import yaml
from external_data import KUBERAY

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
CRD = KUBERAY / "rayjobs-crd-1.7.0.yaml.gz"
COMPONENTS = ("kueue", "secrets")


def documents(components: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the documents of infra/rayjob.yaml with the patches of components, applied as JSON patches (RFC 6902)."""
    found = [copy.deepcopy(own) for own in yaml.safe_load_all((INFRA / "rayjob.yaml").read_text(encoding="utf-8"))]
    for name in components:
        kustomization = yaml.safe_load((INFRA / "kubernetes" / name / "kustomization.yaml").read_text(encoding="utf-8"))
        for entry in kustomization["patches"]:
            [index] = [at for at, own in enumerate(found) if _fits(own, entry["target"])]
            found[index] = jsonpatch.apply_patch(found[index], yaml.safe_load(entry["patch"]))
    return found


def of_kind(kind: str, components: Sequence[str] = ()) -> dict[str, Any]:
    """Return the one document of a kind."""
    [found] = [own for own in documents(components) if own["kind"] == kind]
    return found


def pods(rayjob: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, pod template) of each kind of pod that a RayJob starts."""
    spec = rayjob["spec"]
    yield "submitter", spec["submitterPodTemplate"]
    yield "head", spec["rayClusterSpec"]["headGroupSpec"]["template"]
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


@functools.cache
def rayjob_validator() -> jsonschema.Draft202012Validator:
    """Return the schema of `ray.io/v1` RayJob, in which no object takes a key that it does not name."""
    definition = yaml.load(gzip.decompress(CRD.read_bytes()), yaml.CSafeLoader)
    [version] = [own for own in definition["spec"]["versions"] if own["name"] == "v1"]
    closed = _closed(version["schema"]["openAPIV3Schema"])
    closed["properties"]["metadata"] = {"type": "object"}  # the API server's own
    return jsonschema.Draft202012Validator(closed)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(own) for own in schema]
    if not isinstance(schema, dict):
        return schema
    own = {key: _closed(value) for key, value in schema.items() if key != "description"}
    if isinstance(own.get("properties"), dict) and own.get("type") == "object":
        own.setdefault("additionalProperties", bool(own.get("x-kubernetes-preserve-unknown-fields")))
    if own.pop("x-kubernetes-int-or-string", False):
        own.pop("type", None)
        own.pop("anyOf", None)
        own = {"anyOf": [{"type": "integer"}, {"type": "string", **own}]}
    return own


def _fits(document: dict[str, Any], target: dict[str, str]) -> bool:
    return (document["kind"], document["metadata"]["name"]) == (target["kind"], target["name"])
