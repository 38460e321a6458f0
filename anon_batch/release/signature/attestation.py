"""attestation.json: a signed statement about every file of a release.

The statement lists the digests of all public files but images and shard files. These are covered too, because the provenance
holds the digest of each. So one flipped byte anywhere contradicts the statement.

Source: in-toto Attestation Framework, Statement v1; its predicate is SLSA Provenance v1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anon_batch.errors import IntegrityError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.release.signature.dsse import Envelope, sign

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/anon-batch/anon-batch/run/v1"
_READERS = 16


def write_attestation(release: Release, key: Ed25519PrivateKey) -> int:
    """Sign a finished release: write attestation.json. Return the number of files that the statement lists.

    Raises:
        IntegrityError: run.json is damaged.
        StorageError: a file cannot be read, or the attestation not written.
    """
    subjects = _digests(release)
    payload = json.dumps(_statement(release.read_run_json(), subjects), indent=1).encode()
    release.put(layout.ATTESTATION, sign(PAYLOAD_TYPE, payload, key).to_json())
    return len(subjects)


def check_attestation(release: Release, key: Ed25519PublicKey) -> list[str]:
    """Return what contradicts the signed statement; nothing if it holds.

    It covers the images only together with `verify`, which compares them with the provenance.

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
    found = _digests(release)
    return [
        *(
            f"{name}: changed since the release was signed"
            for name in sorted(signed.keys() & found.keys())
            if signed[name] != found[name]
        ),
        *(f"{name}: missing; the signed statement lists it" for name in sorted(signed.keys() - found.keys())),
        *(f"{name}: not in the signed statement" for name in sorted(found.keys() - signed.keys())),
    ]


def _digests(release: Release) -> dict[str, str]:
    def digest(key: str) -> str:
        return hashlib.sha256(release.read(key)).hexdigest()

    keys = sorted(_signed_keys(release))
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(keys, pool.map(digest, keys), strict=True))


def _signed_keys(release: Release) -> Iterator[str]:
    for info in release.objects(""):
        in_images = info.key.partition("/")[0] in (layout.IMAGES, layout.SHARDS)
        is_image = in_images and not layout.is_images_metadata(info.key)
        if not is_image and info.key != layout.ATTESTATION:
            yield info.key


def _statement(record: RunJson, subjects: Mapping[str, str]) -> dict[str, Any]:
    models = [model.partition("@") for model in record.models]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"config": record.config},
                "resolvedDependencies": [{"name": name, "digest": {"sha256": digest}} for name, _, digest in models],
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
