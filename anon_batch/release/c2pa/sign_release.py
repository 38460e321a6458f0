"""Put Content Credentials into the images of a release that show generated content: a new version, in every layout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.outputs import read_outputs
from anon_batch.formats.release import Release
from anon_batch.formats.shard_contents import Entry, read_entries
from anon_batch.formats.tar_shard import Sample
from anon_batch.pipeline.versions.begin import NewVersion, begin_version, check_finished
from anon_batch.pipeline.versions.finish import finish_version, publish_version
from anon_batch.pipeline.versions.rewrite import NewRow, rewrite_part
from anon_batch.records import ShardSpec
from anon_batch.release.c2pa.carriers import FORMATS
from anon_batch.release.c2pa.credentials import add_credentials, split_credentials
from anon_batch.release.c2pa.signer import Signer
from anon_batch.shards import effective

_SHARDS = 4  # in memory at a time


class Image(NamedTuple):
    """An image that may hold Content Credentials; see `formats.outputs.Output`."""

    number: int
    image_id: str
    key: str
    member: str | None
    sha256: str
    format: str


class Signed(NamedTuple):
    """What was done.

    Args:
        version: number of the version that holds the signed images; that of before if there was nothing to sign.
        images: how many were signed.
    """

    version: int
    images: int


def sign_images(release: Release, ledger: Ledger, signer: Signer, progress: Callable[[int], None]) -> Signed:
    """Sign all images with generated content that this signer has not signed yet. The same call resumes one that was killed.

    Args:
        release: finished, with marked images.
        ledger: its ledger.
        signer: key and certificates.
        progress: called after each shard with the number of images signed so far.

    Raises:
        ConfigError: the release is not finished, or its images are not marked.
        ResumeRefusedError: the ledger is of another run, or another command has begun a version.
        IntegrityError: release or ledger is damaged.
    """
    record = check_finished(release, ledger)
    if not record.mark_generated:
        raise ConfigError(
            f"{release.uri}: its images are not marked as generated (`write.mark_generated: false`), so nothing is signed"
        )
    begun = ledger.version_in_the_making()
    if begun is not None and begun.kind == "c2pa" and finish_version(release, ledger) is not None:
        begun = None  # because an earlier call was killed after it published its version
    specs = effective(release.parts())
    if begun is None and not any(True for spec in specs for _ in _signed(release, spec, signer)):
        return Signed(release.version, 0)
    new = begin_version(release, ledger, "c2pa", {"certificates": signer.chain_sha256})

    def sign_shard(spec: ShardSpec) -> int:
        signed = dict(_signed(release, spec, signer))
        if signed:
            rewrite_part(new, spec, _new_rows(new, spec, signed))
        return len(signed)

    parts, count = [], 0
    with ThreadPoolExecutor(_SHARDS) as pool:
        for spec, signed_count in zip(specs, pool.map(sign_shard, specs), strict=True):
            if signed_count:
                parts.append(spec)
                count += signed_count
                progress(count)
    publish_version(new, parts, changes={"signed": count})
    finish_version(release, ledger)
    return Signed(new.plan.number, count)


def _signed(release: Release, spec: ShardSpec, signer: Signer) -> Iterator[tuple[Image, bytes]]:
    """Yield the images of a shard that this signer has to sign, with their signed files."""
    rows = release.read_part(spec).table.select(["image_id", "output", "member", "sha256", "format", "synthetic"])
    images = [
        Image(spec.start + at, row["image_id"], row["output"], row["member"], row["sha256"], row["format"])
        for at, row in enumerate(rows.to_pylist())
        if row["synthetic"] and row["format"] in FORMATS
    ]
    for image, data in read_outputs(release, images):
        if isinstance(data, IntegrityError):
            raise data
        plain, _ = split_credentials(data)  # because those of another signer are replaced
        try:
            signed = add_credentials(plain, image.format, signer)
        except ValueError as exc:
            raise ConfigError(f"the certificates do not fit into an image ({exc})") from None
        if signed != data:
            yield image, signed


def _new_rows(new: NewVersion, spec: ShardSpec, images: Mapping[Image, bytes]) -> Mapping[int, NewRow]:
    """Return row number -> the row with the signed image; all else of it stays."""
    part = new.release.read_part(spec)
    audit = new.ledger.read_audit(spec, part.meta.attempt)
    keep_format = new.run.config["write"]["format"] == "keep"
    entries: Mapping[str, Entry] = {}
    if any(image.member is not None for image in images):
        key = layout.shard_file(spec.name, part.meta.attempt, new.run.layout)
        entries = read_entries(new.release.read(key), key)
    rows: dict[int, NewRow] = {}
    for image, signed in images.items():
        at = image.number - spec.start
        public: dict[str, Any] = part.table.slice(at, 1).to_pylist()[0]
        public |= {"sha256": hashlib.sha256(signed).hexdigest(), "size_bytes": len(signed)}
        private = audit.slice(at, 1).to_pylist()[0]
        name = image.member or layout.output_name(image.image_id, image.format, keep_format)
        content = signed if image.member is None else _with_image(entries[name], name, signed)
        rows[image.number] = NewRow(public, private, name, content)
    return rows


def _with_image(entry: Entry, name: str, data: bytes) -> Entry:
    """Return the entry of a shard file with another image file in it."""
    if isinstance(entry, Sample):
        return entry._replace(members=tuple((own, data if own == name else old) for own, old in entry.members))
    at = entry.schema.get_field_index("image")
    cell = pa.array([{"bytes": data, "path": name}], entry.schema.field(at).type)
    return entry.set_column(at, entry.schema.field(at), cell)
