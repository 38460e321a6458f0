"""Put Content Credentials into a file, and check those of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from anon_batch.release.c2pa.carriers import Found, extract, insert, place, wrap
from anon_batch.release.c2pa.signer import Signer, find_signature_fault
from anon_batch.release.c2pa.store import Binding, build_store, read_signature, signed_bytes

_ROUNDS = 4


def add_credentials(data: bytes, format: str, signer: Signer) -> bytes:  # noqa: A002  Pillow's word
    """Return the file with Content Credentials; the same file and signer give the same bytes.

    Args:
        data: a JPEG, PNG or WebP without such.
        format: Pillow's name of its format.
        signer: key and certificates.

    Raises:
        ValueError: another format, or certificates that are too long for a JPEG.
    """
    start = place(data, format)
    binding = Binding(start, 0, bytes(32))
    dummy = bytes(signer.signature_bytes)
    for _ in range(_ROUNDS):  # because the store holds its own length, and is longer when that has more digits
        binding = binding.padded(signer.protected, len(dummy))
        binding = binding._replace(length=len(wrap(build_store(binding, signer.protected, dummy), format)))
    length = binding.length
    around = insert(data, format, bytes(length))
    binding = binding._replace(sha256=hashlib.sha256(around[:start] + around[start + length :]).digest())
    signature = signer.sign(signed_bytes(binding, signer.protected))
    return insert(data, format, wrap(build_store(binding, signer.protected, signature), format))


def split_credentials(data: bytes) -> tuple[bytes, list[str]]:
    """Return the file without its Content Credentials, and what is wrong with them; a file without such as it is."""
    found = extract(data)
    return (data, []) if found is None else (found.plain, list(_faults(found, data)))


def _faults(found: Found, data: bytes) -> Iterator[str]:
    """Yield faults: because all but certificates and signature follows from the image, the block is written again."""
    length = len(found.block)
    digest = hashlib.sha256(data[: found.start] + data[found.start + length :]).digest()
    try:
        protected, signature = read_signature(found.store)
        binding = Binding(found.start, length, digest).padded(protected, len(signature))
        written = wrap(build_store(binding, protected, signature), found.format)
    except ValueError as exc:
        yield f"Content Credentials that cannot be read ({exc})"
        return
    if written != found.block:
        yield "Content Credentials of another image, or that say more than that parts of it were generated"
    if (fault := find_signature_fault(protected, signed_bytes(binding, protected), signature)) is not None:
        yield f"Content Credentials with {fault}"
