"""Keys of all files below OUTPUT and LEDGER, as pure functions of ids."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from anon_batch.records import ShardSpec

RUN = "run.json"
STATS = "stats.json"
GATES = "gates.json"
EVALUATION = "evaluation.json"
REVIEW = "review.json"
ATTESTATION = "attestation.json"
DESTROYED = "destroyed.json"
CARD = "README.md"
CROISSANT = "croissant.json"
RISK = "risk.json"
RISK_PAGE = "risk.md"
LICENCES = "licences.json"
CHECKSUMS = "SHA256SUMS"
SHARD_INFO = "_info.json"
SHARD_INDEX = "wids.json"
PROVENANCE = "provenance"
_METADATA = "metadata.parquet"
IMAGES = "images"
SHARDS = "shards"
VERSIONS = "versions"
REPORT = "report/index.html"
REPORT_JSON = "report/report.json"
REPORT_VERDICT = "report/verification.json"
SINGLE_FILES = frozenset(
    {
        RUN,
        STATS,
        GATES,
        EVALUATION,
        REVIEW,
        ATTESTATION,
        DESTROYED,
        CARD,
        CROISSANT,
        RISK,
        RISK_PAGE,
        LICENCES,
        CHECKSUMS,
        SHARD_INFO,
        SHARD_INDEX,
        REPORT,
        REPORT_JSON,
        REPORT_VERDICT,
    }
)

# What describes a version as a whole, and is made again for the next one.
DESCRIPTIONS = SINGLE_FILES - {RUN, STATS, GATES, EVALUATION, REVIEW, DESTROYED}

# What `anon-batch release` writes for every release, in this order.
WRITTEN_AT_RELEASE = (LICENCES, RISK, RISK_PAGE, CROISSANT, CARD, CHECKSUMS, ATTESTATION)

LEDGER_PLAN = "plan.json"
LEDGER_ROWS = "rows"
LEDGER_ATTEMPTS = "attempts"
LEDGER_AUDIT = "audit"
LEDGER_RUN_KEY = "run.key"
LEDGER_REVIEW = "review"
LEDGER_VERSIONS = "versions"
LEDGER_KEYS = "keys"
LEDGER_IDENTITY_KEY = f"{LEDGER_KEYS}/identity.key"
LEDGER_FEATURES_KEY = f"{LEDGER_KEYS}/features.key"
LEDGER_PERSONS = "persons.parquet"
LEDGER_PERSONS_JSON = "persons.json"
LEDGER_FACES = "faces"
LEDGER_FACES_PLAN = f"{LEDGER_FACES}/plan.json"
LEDGER_SEALS = f"{LEDGER_KEYS}/seals.json"
LEDGER_SEALED = "sealed"
LEDGER_SEAL_KEYS = "sealkeys"
LEDGER_LINKS = f"{LEDGER_KEYS}/link.json"
LEDGER_LINKED = "link"
LEDGER_LINK_KEYS = "linkkeys"
LEDGER_ACCESS = "access"
LEDGER_PATCH = "patch"
LEDGER_LOGS = "logs"
LEDGER_SURVIVORS = "survivors.json"
LEDGER_FILES = frozenset({LEDGER_PLAN, LEDGER_RUN_KEY, LEDGER_SURVIVORS, LEDGER_PERSONS, LEDGER_PERSONS_JSON})
LEDGER_FOLDERS = frozenset(
    {
        LEDGER_ROWS,
        LEDGER_ATTEMPTS,
        LEDGER_AUDIT,
        LEDGER_REVIEW,
        LEDGER_VERSIONS,
        LEDGER_PATCH,
        LEDGER_LOGS,
        LEDGER_KEYS,
        LEDGER_SEALED,
        LEDGER_SEAL_KEYS,
        LEDGER_LINKED,
        LEDGER_LINK_KEYS,
        LEDGER_ACCESS,
        LEDGER_FACES,
    }
)

FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
}
IMAGE_SUFFIXES: tuple[str, ...] = tuple(s for suffixes in FORMAT_SUFFIXES.values() for s in suffixes)

_PART = re.compile(r"^(\d{10})-([1-9]\d*)(?:\.v([1-9]\d*))?\.parquet\Z", re.ASCII)
_VERSION = re.compile(r"^([1-9]\d*)\.json\Z", re.ASCII)
_SHARDS_FILE = re.compile(r"^(\d{10})-([1-9]\d*)[-.][^/]+\Z", re.ASCII)
_ATTEMPT = re.compile(r"^(\d{10})-([1-9]\d*)/([^/]+)\Z", re.ASCII)


Kind = Literal["seal", "link"]


class EncryptedFiles(NamedTuple):
    """Keys below LEDGER of what a run keeps encrypted to public keys.

    Args:
        recipients: the file that says to whom.
        ciphertexts, keys: folders of the parts.
    """

    recipients: str
    ciphertexts: str
    keys: str


# Sealed originals, and the index of faces that a photograph is searched in.
ENCRYPTED: Mapping[Kind, EncryptedFiles] = MappingProxyType(
    {
        "seal": EncryptedFiles(LEDGER_SEALS, LEDGER_SEALED, LEDGER_SEAL_KEYS),
        "link": EncryptedFiles(LEDGER_LINKS, LEDGER_LINKED, LEDGER_LINK_KEYS),
    }
)


class PartName(NamedTuple):
    """A shard, and the version of the release whose part of it a file is."""

    spec: ShardSpec
    version: int


def is_ledgers(key: str) -> bool:
    """Return whether a key below LEDGER is of a file that this package writes there."""
    folder, below, _ = key.partition("/")
    return folder in LEDGER_FOLDERS if below else key in LEDGER_FILES


def provenance_part(shard: str, version: int = 1) -> str:
    """Return the key below OUTPUT of the part of the shard named `START-COUNT`; that of version 1 commits the shard."""
    return f"{PROVENANCE}/{shard}.parquet" if version == 1 else f"{PROVENANCE}/{shard}.v{version}.parquet"


def audit_part(shard: str, attempt: str) -> str:
    """Return the key below LEDGER of one attempt's audit part. The commit names the attempt whose audit counts."""
    return f"{LEDGER_AUDIT}/{shard}-{attempt}.parquet"


def encrypted_part(folder: str, shard: str, attempt: str) -> str:
    """Return the key below LEDGER of what one attempt encrypted, in one of the folders of `ENCRYPTED`."""
    return f"{folder}/{shard}-{attempt}.parquet"


def rotation(name: str) -> str:
    """Return the key below LEDGER of the marker that the recipients of sealed originals are being changed."""
    return f"{LEDGER_KEYS}/rotation-{name}.json"


def faces_part(rows: str) -> str:
    """Return the key below LEDGER of the encrypted faces of the rows named `START-COUNT`."""
    return f"{LEDGER_FACES}/{rows}.sealed"


def attempt(shard: str, attempt_name: str) -> str:
    """Return the key below LEDGER of the marker that an attempt at a shard began."""
    return f"{LEDGER_ATTEMPTS}/{shard}/{attempt_name}"


def driver_log(started_at: datetime, invocation: str) -> str:
    """Return the key below LEDGER of the log of one start of the driver; names sort by time."""
    return f"{LEDGER_LOGS}/{started_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{invocation}.txt"


def rows_folder(rows_id: str) -> str:
    """Return the key below LEDGER of the folder with the manifest rows that one start of the driver wrote."""
    return f"{LEDGER_ROWS}/{rows_id}"


def rows_part(start: int, count: int) -> str:
    """Return the key of one chunk of rows, below a folder of rows."""
    return f"{start:010d}-{count}.parquet"


def shard_file(shard: str, attempt_name: str, layout: str) -> str:
    """Return the key below OUTPUT of a shard's images in the layouts `webdataset` and `parquet`."""
    return f"{SHARDS}/{shard}-{attempt_name}.{'tar' if layout == 'webdataset' else 'parquet'}"


def images_metadata(folder: str = "") -> str:
    """Return the key below OUTPUT of the file with the columns of all images, or of those whose ids start with a folder."""
    return posixpath.join(IMAGES, folder, _METADATA)


def is_images_metadata(key: str) -> bool:
    """Return whether a key is that of such a file; no image has this name, because each has the suffix of an image."""
    return key.startswith(f"{IMAGES}/") and posixpath.basename(key) == _METADATA


def image_key(output_name: str) -> str:
    """Return the key below OUTPUT of one image in the layout `files`."""
    return f"{IMAGES}/{output_name}"


def version_file(number: int) -> str:
    """Return the key below OUTPUT, and below LEDGER, of the file of one version."""
    return f"{VERSIONS}/{number}.json"


def versioned(output_name: str, version: int, token: str = "") -> str:
    """Return the name that an output has from a later version on: `a/b.jpg` becomes `a/b.v2.jpg`, or `a/b.v2-TOKEN.jpg`."""
    stem, suffix = posixpath.splitext(output_name)
    return f"{stem}.v{version}{'-' if token else ''}{token}{suffix}"


def version_attempt(version: int, token: str) -> str:
    """Return the name that the parts and shard files of a later version have in place of an attempt's."""
    return f"v{version}-{token}"


def parse_part(name: str) -> PartName | None:
    """Return shard and version of a part's file name; None for any other name."""
    match = _PART.match(name)
    if match is None or match[3] == "1":
        return None
    return PartName(ShardSpec(int(match[1]), int(match[2])), int(match[3] or 1))


def parse_version(name: str) -> int | None:
    """Return the number of a version's file name; None for any other name."""
    match = _VERSION.match(name)
    return int(match[1]) if match else None


def parse_shards_file(name: str) -> ShardSpec | None:
    """Return the rows of a file that is named after a shard or a chunk of rows; None for any other name."""
    match = _SHARDS_FILE.match(name)
    return ShardSpec(int(match[1]), int(match[2])) if match else None


def parse_attempt(key: str) -> tuple[ShardSpec, str] | None:
    """Return shard and attempt name of a key below `attempts/`; None for any other key."""
    match = _ATTEMPT.match(key)
    return (ShardSpec(int(match[1]), int(match[2])), match[3]) if match else None


def output_name(image_id: str, image_format: str, keep_format: bool) -> str:
    """Return the relative path of an output.

    If the source's format is kept, the id is the name, because training code looks for it (even if a PNG is called `.JPEG`);
    an id without an image suffix gets one. With a fixed format, the format's suffix is appended unless the id has it
    already, so that `a.png` and `a.jpg` get different names.
    """
    suffix = posixpath.splitext(image_id)[1].lower()
    if suffix in (IMAGE_SUFFIXES if keep_format else FORMAT_SUFFIXES[image_format]):
        return image_id
    return image_id + FORMAT_SUFFIXES[image_format][0]


def possible_output_names(image_id: str, keep_format: bool) -> set[str]:
    """Return every name that `output_name` may give to an id, for any format of the source."""
    return {output_name(image_id, image_format, keep_format) for image_format in FORMAT_SUFFIXES}
