"""Key files for seals and for the index of faces: X25519, alone or together with ML-KEM-768, as PEM.

A file with both keys is a hybrid: what is sealed to it stays closed as long as one of the two holds, also against a quantum
computer (KEM MLKEM768-X25519, draft-ietf-hpke-pq). Keys are PKCS #8 and SubjectPublicKeyInfo, one PEM block each, as openssl
reads them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from anon_batch.errors import ConfigError

Suite = Literal["x25519", "mlkem768x25519"]
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.S)
_SUITES = {
    "x25519": hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    "mlkem768x25519": hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}


class WrongKeyError(Exception):
    """A ciphertext does not open: it is another key's, or it was changed."""


@dataclass(frozen=True, slots=True, eq=False)
class PublicKey:
    """A key that seals. Picklable by its `pem`.

    Args:
        suite: kind of the key.
        pem: its file.
        key_id: SHA-256 over the DER of its parts, 64 hexadecimal digits.
    """

    suite: Suite
    pem: bytes
    key_id: str

    def encrypt(self, secret: bytes, info: bytes) -> bytes:
        """Encrypt a short secret to the holder of the private key (HPKE base mode, RFC 9180, section 5.1.1)."""
        keys = _load_public(self.pem, "")
        own: Any = keys[0] if self.suite == "x25519" else hpke.MLKEM768X25519PublicKey(keys[1], keys[0])
        return _SUITES[self.suite].encrypt(secret, own, info=info)


class PrivateKey:
    """A key that opens. It is never shown, and cannot be pickled.

    Args:
        keys: the X25519 key, and the ML-KEM-768 key of a hybrid.
    """

    def __init__(self, *keys: X25519PrivateKey | MLKEM768PrivateKey) -> None:
        self._keys = keys
        self.public = _describe(b"".join(_public_block(key.public_key()) for key in keys), "")

    def decrypt(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was encrypted to this key with the same `info`.

        Raises:
            WrongKeyError: it was encrypted to another key, with other `info`, or it was changed.
        """
        own: Any = self._keys[0]
        if len(self._keys) == 2:
            own = hpke.MLKEM768X25519PrivateKey(self._keys[1], self._keys[0])  # type: ignore[arg-type]
        try:
            return _SUITES[self.public.suite].decrypt(sealed, own, info=info)
        except (InvalidTag, ValueError):
            raise WrongKeyError from None

    def code_of(self, data: bytes) -> str:
        """Return a code of some bytes that nobody without this key can make or check: HMAC-SHA256, hexadecimal."""
        own: Any = self._keys[0]
        key = HKDF(hashes.SHA256(), 32, None, b"anon-batch code of a photograph 1").derive(own.private_bytes_raw())
        return hmac.digest(key, data, "sha256").hex()

    def pem(self) -> bytes:
        """Return the file of the private key. It is not encrypted."""
        own = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return b"".join(key.private_bytes(*own) for key in self._keys)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.key_id[:16]})"

    def __reduce__(self) -> Any:
        raise TypeError("a private key is not pickled")


def new_key(suite: Suite = "mlkem768x25519") -> PrivateKey:
    """Return a random key."""
    classical = X25519PrivateKey.generate()
    return PrivateKey(classical) if suite == "x25519" else PrivateKey(classical, MLKEM768PrivateKey.generate())


def read_public_key(pem: bytes, uri: str) -> PublicKey:
    """Return the public key in a file; `uri` is its address, for messages.

    Raises:
        ConfigError: it holds none, a private one, or one of another kind.
    """
    if b"PRIVATE KEY" in pem:
        raise ConfigError(
            f"{uri}: this is a private key; name the public one, FILE.pub, and keep this one off the cluster"
        )
    return _describe(pem, uri)


def read_private_key(pem: bytes, uri: str) -> PrivateKey:
    """Return the private key in a file; `uri` is its address, for messages.

    Raises:
        ConfigError: it holds none, or one of another kind.
    """
    try:
        keys = [serialization.load_pem_private_key(block[0], None) for block in _PEM.finditer(pem)]
    except TypeError:
        raise ConfigError(f"{uri}: the key is encrypted; use one that is not, and protect its file") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{uri}: no private key; `anon-batch keys new --seal FILE` or `--link FILE` makes one"
        ) from None
    if not _is_pair(keys, X25519PrivateKey, MLKEM768PrivateKey):
        raise ConfigError(
            f"{uri}: no private key for seals or links; `anon-batch keys new --seal FILE` or `--link FILE` makes one"
        )
    return PrivateKey(*keys)  # type: ignore[arg-type]


def _describe(pem: bytes, uri: str) -> PublicKey:
    keys = _load_public(pem, uri)
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.sha256(b"".join(key.public_bytes(*der) for key in keys)).hexdigest()
    return PublicKey("x25519" if len(keys) == 1 else "mlkem768x25519", b"".join(map(_public_block, keys)), digest)


def _load_public(pem: bytes, uri: str) -> list[Any]:
    try:
        keys = [serialization.load_pem_public_key(block[0]) for block in _PEM.finditer(pem)]
    except (ValueError, UnsupportedAlgorithm):
        keys = []
    if not _is_pair(keys, X25519PublicKey, MLKEM768PublicKey):
        raise ConfigError(f"{uri}: no public key for seals or links; `anon-batch keys new` makes FILE.pub")
    return keys


def _is_pair(keys: list[Any], first: type, second: type) -> bool:
    """Return whether these are a key of the one kind, alone or followed by one of the other."""
    return 1 <= len(keys) <= 2 and all(map(isinstance, keys, (first, second)))


def _public_block(key: Any) -> bytes:
    block: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return block
