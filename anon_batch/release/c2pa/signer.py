"""Sign Content Credentials with the owner's key and certificates, and check such signatures.

The algorithms are those of C2PA 2.1, 13.2, whose signatures can be repeated: Ed25519, and ECDSA with nonces by RFC 6979, so
that the same key gives the same bytes. Certificates must be of the profile of C2PA 2.1, 14.5.1, as far as a reader would see.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from anon_batch.errors import ConfigError
from anon_batch.release.c2pa.cbor import decode, encode

_ALGORITHM, _CHAIN = 1, 33  # COSE headers (RFC 9052, RFC 9360)
_EDDSA = -8
_PURPOSES = {  # extended key usages that a reader accepts for claims
    "1.3.6.1.5.5.7.3.4": "email protection",
    "1.3.6.1.5.5.7.3.36": "document signing",
    "1.3.6.1.4.1.62558.2.1": "C2PA claim signing",
}


class _Curve(NamedTuple):
    """An elliptic curve: number of its algorithm in COSE, hash, bytes of each half of a signature."""

    algorithm: int
    digest: hashes.HashAlgorithm
    half_bytes: int


_CURVES = {
    "secp256r1": _Curve(-7, hashes.SHA256(), 32),
    "secp384r1": _Curve(-35, hashes.SHA384(), 48),
    "secp521r1": _Curve(-36, hashes.SHA512(), 66),
}
_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Signer:
    """A private key with its certificates.

    Args:
        key: the private key.
        chain: certificates, that of the key first, DER.

    Attributes:
        protected: COSE header that names the algorithm and holds the certificates, CBOR.
        signature_bytes: length of a signature.
    """

    def __init__(self, key: _PrivateKey, chain: list[bytes]) -> None:
        self._key = key
        curve = None if isinstance(key, ed25519.Ed25519PrivateKey) else _CURVES[key.curve.name]
        algorithm = _EDDSA if curve is None else curve.algorithm
        self.protected = _protected(algorithm, chain)
        self.signature_bytes = 64 if curve is None else 2 * curve.half_bytes

    @property
    def chain_sha256(self) -> str:
        """Digest of algorithm and certificates."""
        return hashlib.sha256(self.protected).hexdigest()

    def sign(self, payload: bytes) -> bytes:
        """Return the signature; the same payload gives the same one."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(payload)
        curve = _CURVES[self._key.curve.name]
        der = self._key.sign(payload, ec.ECDSA(curve.digest, deterministic_signing=True))
        return b"".join(half.to_bytes(curve.half_bytes, "big") for half in decode_dss_signature(der))


def _protected(algorithm: int, chain: list[bytes]) -> bytes:
    return encode({_ALGORITHM: algorithm, _CHAIN: chain[0] if len(chain) == 1 else chain})


def load_signer(key_pem: bytes, key_uri: str, chain_pem: bytes, chain_uri: str) -> Signer:
    """Return the signer of a private key (PEM) and its certificates (PEM, that of the key first).

    Raises:
        ConfigError: a file holds something else, both do not belong together, or readers would refuse the certificate.
    """
    try:
        key: Any = serialization.load_pem_private_key(key_pem, None)
    except TypeError:
        raise ConfigError(f"{key_uri}: the key is encrypted; sign with one that is not, and protect its file") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{key_uri}: no private key (PEM)") from None
    is_curve = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES
    if not is_curve and not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{key_uri}: a key of another kind; use an ECDSA key (P-256, P-384, P-521) or an Ed25519 key")
    try:
        certificates = x509.load_pem_x509_certificates(chain_pem)
    except ValueError:
        raise ConfigError(f"{chain_uri}: no certificates (PEM)") from None
    _check_certificate(certificates[0], key, chain_uri)
    return Signer(key, [own.public_bytes(serialization.Encoding.DER) for own in certificates])


def _check_certificate(own: x509.Certificate, key: _PrivateKey, uri: str) -> None:
    encoding = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if own.public_key().public_bytes(*encoding) != key.public_key().public_bytes(*encoding):
        raise ConfigError(f"{uri}: the first certificate is of another key")
    if own.issuer == own.subject:
        raise ConfigError(
            f"{uri}: the certificate is signed by itself, which readers refuse; have an authority sign it"
        )
    if not own.not_valid_before_utc <= datetime.now(UTC) <= own.not_valid_after_utc:
        raise ConfigError(f"{uri}: the certificate is not valid now, only to {own.not_valid_after_utc:%Y-%m-%d}")
    try:
        usage = own.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as exc:
        raise ConfigError(
            f"{uri}: the certificate does not say what its key is for ({exc.oid.dotted_string})"
        ) from None
    if not usage.digital_signature or usage.key_cert_sign:
        raise ConfigError(f"{uri}: the certificate is not for signatures (key usage)")
    if not any(purpose.dotted_string in _PURPOSES for purpose in purposes):
        raise ConfigError(f"{uri}: the certificate is for none of {', '.join(_PURPOSES.values())} (extended key usage)")


def find_signature_fault(protected: bytes, payload: bytes, signature: bytes) -> str | None:
    """Return what is wrong with a signature by the certificate in its header; None if it is right.

    Whether a reader trusts the certificate is for the reader to decide.
    """
    try:
        header = decode(protected)
        chain = header[_CHAIN]
        chain = [chain] if isinstance(chain, bytes) else chain
        certificates = [x509.load_der_x509_certificate(own) for own in chain]
        key: Any = certificates[0].public_key()
        if protected != _protected(header[_ALGORITHM], chain):
            return "a header with more than the algorithm and certificates"
        if header[_ALGORITHM] == _EDDSA and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
            return None
        curve = _CURVES[key.curve.name]
        if header[_ALGORITHM] != curve.algorithm or len(signature) != 2 * curve.half_bytes:
            return "another algorithm than that of the certificate"
        halves = [int.from_bytes(signature[at : at + curve.half_bytes], "big") for at in (0, curve.half_bytes)]
        key.verify(encode_dss_signature(*halves), payload, ec.ECDSA(curve.digest))
    except InvalidSignature:
        return "a signature of something else"
    except Exception as exc:  # because damaged certificates break their reader in many ways
        return f"a damaged header ({type(exc).__name__})"
    return None
