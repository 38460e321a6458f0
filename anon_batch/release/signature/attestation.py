"""attestation.json: a signed statement about every file of a release.

The statement lists the digests of all public files but images and shard files. These are covered too, because the provenance
holds the digest of each. So one flipped byte anywhere contradicts the statement.

Source: in-toto Attestation Framework, Statement v1; its predicate is SLSA Provenance v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anon_batch.errors import IntegrityError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.current_run import current_run
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.services import read_service
from anon_batch.release.public_files import hash_public_files
from anon_batch.release.signature.dsse import Envelope, sign

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/anon-batch/anon-batch/run/v1"


def write_attestation(release: Release, key: Ed25519PrivateKey, subjects: Mapping[str, str]) -> None:
    """Sign a finished release: write attestation.json.

    Args:
        release: what is signed.
        key: signs.
        subjects: digests of all its public files, from `hash_public_files`.

    Raises:
        IntegrityError: run.json is damaged.
        StorageError: the attestation cannot be written.
    """
    payload = json.dumps(
        _statement(current_run(release.read_run_json(), release.versions), subjects), indent=1
    ).encode()
    release.put(layout.ATTESTATION, sign(PAYLOAD_TYPE, payload, key).to_json())


def check_attestation(release: Release, key: Ed25519PublicKey, only: Sequence[str] | None = None) -> list[str]:
    """Return what contradicts the signed statement; nothing if it holds.

    It covers the images only together with `verify`, which compares them with the provenance.

    Args:
        release: the release.
        key: of the one who signed it.
        only: the files that are looked at, where others are not there; None looks at all.

    Raises:
        StorageError: a file cannot be read.
    """
    uri = release.address(layout.ATTESTATION)
    try:
        envelope = Envelope.from_json(release.read(layout.ATTESTATION), uri)
        envelope.check(key, uri)
        signed = _subjects(envelope, uri)
    except ObjectNotFoundError:
        return [f"{layout.ATTESTATION}: missing; the release is not signed"]
    except IntegrityError as exc:
        return [str(exc)]
    found = hash_public_files(release)
    if only is not None:
        signed, found = ({name: own for name, own in some.items() if name in only} for some in (signed, found))
    return [
        *(
            f"{name}: changed since the release was signed"
            for name in sorted(signed.keys() & found.keys())
            if signed[name] != found[name]
        ),
        *(f"{name}: missing; the signed statement lists it" for name in sorted(signed.keys() - found.keys())),
        *(f"{name}: not in the signed statement" for name in sorted(found.keys() - signed.keys())),
    ]


def _statement(record: RunJson, subjects: Mapping[str, str]) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"config": record.config},
                "resolvedDependencies": [_dependency(model) for model in record.models],
            },
            "runDetails": {
                "builder": {"id": BUILD_TYPE, "version": {"anon-batch": record.tool_version}},
                "metadata": {
                    "invocationId": record.run_id,
                    "startedOn": record.created_at,
                    "finishedOn": record.finished_at,
                },
            },
        },
    }


def _dependency(model: str) -> dict[str, Any]:
    """Return a resource descriptor of weights, by their digest, or of a service, which has none."""
    if (service := read_service(model)) is not None:
        return {"name": service.said, "uri": service.address}
    name, _, digest = model.partition("@")
    return {"name": name, "digest": {"sha256": digest}}


def _subjects(envelope: Envelope, uri: str) -> dict[str, str]:
    if envelope.payload_type != PAYLOAD_TYPE:
        raise IntegrityError(f"{uri}: the payload is {envelope.payload_type!r}, not an in-toto statement")
    try:
        statement = json.loads(envelope.payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError("another kind of statement")
        return {str(own["name"]): str(own["digest"]["sha256"]) for own in statement["subject"]}
    except (ValueError, KeyError, TypeError) as exc:
        raise IntegrityError(f"{uri}: the signed statement cannot be read ({type(exc).__name__}: {exc})") from None
