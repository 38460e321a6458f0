"""Keys that sign releases: Ed25519, the private one as PKCS #8 PEM, the public one as SubjectPublicKeyInfo PEM."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anon_batch.errors import ConfigError


def new_signing_key() -> Ed25519PrivateKey:
    """Return a random key."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the private key as unencrypted PKCS #8 PEM, as openssl reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return the public key as PEM, as openssl reads it."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the public key's DER, 64 hexadecimal digits."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def read_private(pem: bytes, uri: str) -> Ed25519PrivateKey:
    """Return the private key in a file; `uri` is its address, for messages.

    Raises:
        ConfigError: it holds none, one of another kind, or one that is encrypted.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ConfigError(f"{uri}: the key is encrypted; sign with one that is not, and protect its file") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{uri}: no private key; `anon-batch keys new --sign FILE` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{uri}: a key of another kind; releases are signed with Ed25519 keys")
    return key


def read_public(pem: bytes, uri: str) -> Ed25519PublicKey:
    """Return the public key in a file; `uri` is its address, for messages.

    Raises:
        ConfigError: it holds none, or one of another kind.
    """
    if b"PRIVATE KEY" in pem:
        raise ConfigError(f"{uri}: this is a private key; name the public one, FILE.pub, and keep this one to yourself")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{uri}: no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{uri}: a key of another kind; releases are signed with Ed25519 keys")
    return key
