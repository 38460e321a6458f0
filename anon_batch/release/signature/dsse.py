"""Sign bytes, and check the signature: DSSE envelopes with Ed25519.

Source: Dead Simple Signing Envelope, protocol and JSON envelope of version 1 (secure-systems-lab/dsse); Ed25519: RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anon_batch.errors import IntegrityError
from anon_batch.release.signature.signing_key import key_id


class Envelope(NamedTuple):
    """A signed payload.

    Args:
        payload_type: says how the payload is read.
        payload: what is signed.
        key_id: of the key, a hint alone.
        signature: over the pre-authentication encoding of both.
    """

    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes

    def to_json(self) -> bytes:
        """Return the envelope's file."""
        signature = {"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}
        payload = base64.b64encode(self.payload).decode()
        return json.dumps({"payloadType": self.payload_type, "payload": payload, "signatures": [signature]}).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Envelope:
        """Parse the envelope's file; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged, or has not exactly one signature.
        """
        try:
            fields = json.loads(data)
            [signature] = fields["signatures"]
            payload = base64.b64decode(fields["payload"], validate=True)
            signed = base64.b64decode(signature["sig"], validate=True)
            envelope = cls(str(fields["payloadType"]), payload, str(signature["keyid"]), signed)
        except (ValueError, KeyError, TypeError, binascii.Error) as exc:
            raise IntegrityError(f"{uri}: damaged ({type(exc).__name__}: {exc})") from None
        if envelope.to_json() != data:  # because a byte that no check covers could carry anything
            raise IntegrityError(f"{uri}: damaged (it is not as this package writes it)")
        return envelope

    def check(self, key: Ed25519PublicKey, uri: str) -> None:
        """Check the signature.

        Raises:
            IntegrityError: another key signed it, or it was changed since.
        """
        try:
            key.verify(self.signature, encode_for_signing(self.payload_type, self.payload))
        except InvalidSignature:
            wrong = "" if self.key_id == key_id(key) else f"; it names key {self.key_id}, yours is {key_id(key)}"
            raise IntegrityError(f"{uri}: the signature does not hold for this key{wrong}") from None


def sign(payload_type: str, payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """Return the payload in an envelope."""
    signature = key.sign(encode_for_signing(payload_type, payload))
    return Envelope(payload_type, payload, key_id(key.public_key()), signature)


def encode_for_signing(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: the pre-authentication encoding (PAE) of type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
