"""Key files open what their public halves seal, and say clearly when they are something else."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anon_batch.errors import ConfigError
from anon_batch.sealing.key_files import Suite, WrongKeyError, new_key, read_private_key, read_public_key

SUITES: tuple[Suite, ...] = ("x25519", "mlkem768x25519")
# HPKE: 32 bytes of an X25519 share (and 1,088 of ML-KEM-768), the secret, a tag of 16.
OVERHEAD = {"x25519": 48, "mlkem768x25519": 1136}


@pytest.mark.parametrize("suite", SUITES)
def test_what_the_public_key_seals_the_private_key_of_the_same_file_opens(suite: Suite) -> None:
    key = new_key(suite)
    private, public = read_private_key(key.pem(), "k"), read_public_key(key.public.pem, "k.pub")
    assert private.public.key_id == public.key_id == key.public.key_id
    assert public.suite == suite
    sealed = public.encrypt(b"secret" * 5, b"info")
    assert len(sealed) == 30 + OVERHEAD[suite]
    assert private.decrypt(sealed, b"info") == b"secret" * 5


@pytest.mark.parametrize("suite", SUITES)
def test_other_keys_other_info_and_changed_bytes_are_refused(suite: Suite) -> None:
    key = new_key(suite)
    sealed = key.public.encrypt(bytes(32), b"info")
    for other in (new_key(suite), new_key("x25519"), new_key()):
        with pytest.raises(WrongKeyError):
            other.decrypt(sealed, b"info")
    with pytest.raises(WrongKeyError):
        key.decrypt(sealed, b"other")
    for at in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(WrongKeyError):
            key.decrypt(bytes(changed), b"info")
    for end in (0, 1, 31, len(sealed) - 1):
        with pytest.raises(WrongKeyError):
            key.decrypt(sealed[:end], b"info")


@pytest.mark.parametrize("suite", SUITES)
def test_a_private_key_shows_nothing_of_itself(suite: Suite) -> None:
    key = new_key(suite)
    body = b"".join(line for line in key.pem().splitlines() if not line.startswith(b"-----")).decode()
    assert not any(body[at : at + 12] in repr(key) + str(vars(key)) for at in range(0, len(body), 12))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
    assert pickle.loads(pickle.dumps(key.public)) == key.public or key.public.key_id  # public keys travel to workers


def test_files_of_other_kinds_are_named() -> None:
    key, hybrid = new_key("x25519"), new_key()
    signing = Ed25519PrivateKey.generate()
    pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    signing_pem = signing.private_bytes(*pkcs8, serialization.NoEncryption())
    locked = signing.private_bytes(*pkcs8, serialization.BestAvailableEncryption(b"word"))
    with pytest.raises(ConfigError, match=r"k\.pub: this is a private key"):
        read_public_key(key.pem(), "k.pub")
    for pem in (b"", b"text", key.public.pem, signing_pem, key.pem() * 2, hybrid.pem()[300:]):
        with pytest.raises(ConfigError, match="k: no private key"):
            read_private_key(pem, "k")
    with pytest.raises(ConfigError, match="k: the key is encrypted"):
        read_private_key(locked, "k")
    for pem in (b"", b"text", key.public.pem * 2, hybrid.public.pem + key.public.pem):
        with pytest.raises(ConfigError, match="k: no public key"):
            read_public_key(pem, "k")


def test_openssl_reads_the_classical_key(tmp_path: Path) -> None:
    key = new_key("x25519")
    (tmp_path / "k").write_bytes(key.pem())
    try:
        done = subprocess.run(["openssl", "pkey", "-in", tmp_path / "k", "-pubout"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr
    assert done.stdout == key.public.pem
