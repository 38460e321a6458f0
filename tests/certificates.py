"""Certificates for tests: an authority, and a signer of the profile that readers of Content Credentials expect."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PURPOSE = ExtendedKeyUsageOID.EMAIL_PROTECTION
_NOW = dt.datetime.now(dt.UTC)
_DAY = dt.timedelta(days=1)


def make_certificates(
    key: Any, *, purposes: Sequence[x509.ObjectIdentifier] = (PURPOSE,), signs: bool = True, ends_in_days: float = 30
) -> tuple[bytes, bytes]:
    """Return the private key and its certificates with the authority's, both PEM."""
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _builder("Authority", "Authority", authority.public_key(), 3650)
    root = root.add_extension(x509.BasicConstraints(True, None), critical=True)
    root = root.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    root = root.add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
    own = _builder("Owner of the data", "Authority", key.public_key(), ends_in_days)
    own = own.add_extension(x509.BasicConstraints(False, None), critical=True)
    own = own.add_extension(_usage(digital_signature=signs, key_encipherment=not signs), critical=True)
    if purposes:
        own = own.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    own = own.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    own = own.add_extension(issuer, critical=False)
    chain = [builder.sign(authority, hashes.SHA256()) for builder in (own, root)]
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, b"".join(certificate.public_bytes(pem) for certificate in chain)


def _builder(subject: str, issuer: str, public: Any, days: float) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - 2 * _DAY)
        .not_valid_after(_NOW + days * _DAY)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)])


def _usage(**uses: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})
