"""The manifest store of an image: one claim that parts of it were generated, bound to its bytes, and a signature.

It holds no thumbnail, no ingredient, no title, no time and no name but that of this package and what the owner's certificates
say. Everything else follows from the image, so that a reader can write the store again and compare.

Sources: C2PA Technical Specification 2.1, 8 (assertions), 10 (claims), 11.1 (manifests as JUMBF), 13 (signatures), 18.5 (data
hash), 18.15 (actions); ISO/IEC 19566-5 (JUMBF).
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from anon_batch.imaging.metadata.mark import SOURCE_TYPE
from anon_batch.release.c2pa.cbor import Tagged, decode, encode

_TYPE_END = bytes.fromhex("00110010800000aa00389b71")  # behind the four letters of every type of C2PA's boxes
_LABELLED = b"\x03"  # may be requested by its label, which follows
_ASSERTIONS, _SIGNATURE = "c2pa.assertions", "c2pa.signature"
_ACTIONS, _HASH, _CLAIM = "c2pa.actions.v2", "c2pa.hash.data", "c2pa.claim.v2"
_COSE_SIGN1 = 18


class Binding(NamedTuple):
    """What binds a store to its image.

    Args:
        start: where the store's block begins in the file.
        length: of the block, bytes.
        sha256: digest of the file without the block.
        pad_bytes: zeros that make the length of the store even, so that a RIFF file needs no byte behind it.
    """

    start: int
    length: int
    sha256: bytes
    pad_bytes: int = 0

    def padded(self, protected: bytes, signature_bytes: int) -> Binding:
        """Return the binding with the zeros that a store with these parts needs."""
        plain = self._replace(pad_bytes=0)
        return plain._replace(pad_bytes=len(build_store(plain, protected, bytes(signature_bytes))) % 2)


def build_store(binding: Binding, protected: bytes, signature: bytes) -> bytes:
    """Return the manifest store.

    Args:
        binding: to the image.
        protected: COSE header with the algorithm and the certificates, CBOR.
        signature: over `signed_bytes`.
    """
    signed = encode(Tagged(_COSE_SIGN1, [protected, {}, None, signature]))
    manifest = _superbox(
        b"c2ma",
        _label(binding),
        _superbox(b"c2as", _ASSERTIONS, *_assertions(binding).values()),
        _superbox(b"c2cl", _CLAIM, _box(b"cbor", _claim(binding))),
        _superbox(b"c2cs", _SIGNATURE, _box(b"cbor", signed)),
    )
    return _superbox(b"c2pa", "c2pa", manifest)


def signed_bytes(binding: Binding, protected: bytes) -> bytes:
    """Return what the signature is over (RFC 9052, section 4.4)."""
    return encode(["Signature1", protected, b"", _claim(binding)])


def read_signature(store: bytes) -> tuple[bytes, bytes]:
    """Return (protected header, signature) of a store, which end it.

    Raises:
        ValueError: it has none of the form that `build_store` writes.
    """
    head = _SIGNATURE.encode() + b"\0"
    at = store.rfind(head)
    if at < 0:
        raise ValueError("no signature")
    found: Any = decode(store[at + len(head) + 8 :])
    cose = found.value if isinstance(found, Tagged) and found.number == _COSE_SIGN1 else None
    if not isinstance(cose, list) or len(cose) != 4 or not isinstance(cose[0], bytes) or not isinstance(cose[3], bytes):
        raise ValueError("no COSE_Sign1")
    return cose[0], cose[3]


def _assertions(binding: Binding) -> dict[str, bytes]:
    """Return label -> box; the first action of an image without ingredients is that it was created."""
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    bound = {
        "exclusions": [{"start": binding.start, "length": binding.length}],
        "name": "jumbf manifest",
        "alg": "sha256",
        "hash": binding.sha256,
        "pad": bytes(binding.pad_bytes),
    }
    content = {_ACTIONS: {"actions": [action]}, _HASH: bound}
    return {label: _superbox(b"cbor", label, _box(b"cbor", encode(own))) for label, own in content.items()}


def _claim(binding: Binding) -> bytes:
    assertions = [
        {"url": f"self#jumbf={_ASSERTIONS}/{label}", "hash": hashlib.sha256(box[8:]).digest()}  # without the box's head
        for label, box in _assertions(binding).items()
    ]
    return encode(
        {
            "instanceID": f"xmp:iid:{_uuid(b'instance', binding)}",
            "claim_generator_info": {"name": "anon-batch"},
            "signature": f"self#jumbf=/c2pa/{_label(binding)}/{_SIGNATURE}",
            "created_assertions": assertions,
            "alg": "sha256",
        }
    )


def _label(binding: Binding) -> str:
    return f"urn:c2pa:{_uuid(b'manifest', binding)}"


def _uuid(purpose: bytes, binding: Binding) -> str:
    """Return a UUID that follows from the image, in the form of version 4, because readers expect that."""
    raw = bytearray(hashlib.sha256(purpose + binding.sha256).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _superbox(kind: bytes, label: str, *content: bytes) -> bytes:
    description = _box(b"jumd", kind + _TYPE_END + _LABELLED + label.encode() + b"\0")
    return _box(b"jumb", description + b"".join(content))


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body
