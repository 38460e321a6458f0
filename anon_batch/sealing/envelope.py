"""Encrypt one sealed region: AES-256-GCM with a data key of its own, which the shard's key wraps.

What a ciphertext belongs to is authenticated with it (associated data), so that it opens nowhere else. GCM does not commit to its
key: two keys can open one ciphertext (Dodis et al., "Fast Message Franking", CRYPTO 2018, section 3). So a commitment to the data
key is kept beside it.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anon_batch.sealing.key_files import PrivateKey, PublicKey, WrongKeyError

KEY_BYTES = 32
_NONCE_BYTES, _COMMITMENT_BYTES = 12, 16
_ZERO_NONCE = bytes(_NONCE_BYTES)  # because a data key encrypts once
WHOLE_IMAGE = -1
Need = Literal["any", "all"]


class Place(NamedTuple):
    """What a ciphertext belongs to.

    Args:
        run_id: of the release.
        image_id: the manifest's id.
        region: index in the published regions; -1 for the file of the whole image.
        codec: how the plaintext is written.
    """

    run_id: str
    image_id: str
    region: int
    codec: str

    def to_bytes(self) -> bytes:
        """Return the associated data."""
        return _canonical({"what": "anon-batch sealed region 1", **self._asdict()})


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted region.

    Args:
        place: what it belongs to.
        kek_id: of the shard's key that wraps the data key.
        ciphertext: AES-256-GCM, tag included.
        wrapped_key: the data key, encrypted by the shard's key.
        commitment: to the data key, 16 bytes.
    """

    place: Place
    kek_id: str
    ciphertext: bytes = field(repr=False)
    wrapped_key: bytes = field(repr=False)
    commitment: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WrappedKek:
    """The key of one attempt at a shard, encrypted to the recipients.

    Args:
        kek_id: random name, 32 hexadecimal digits.
        run_id: of the release.
        wrapped: id of a recipient's key -> HPKE ciphertext: of the key, or with `need: all` of a share of it.
        need: how many of the recipients are needed to open it.
    """

    kek_id: str
    run_id: str
    wrapped: dict[str, bytes]
    need: Need = "any"


class Kek:
    """The key that wraps the data keys of one attempt at a shard. It is never shown, and cannot be pickled.

    Args:
        kek_id: its name.
        run_id: of the release.
        key: 32 bytes.
    """

    def __init__(self, kek_id: str, run_id: str, key: bytes) -> None:
        self.kek_id, self.run_id = kek_id, run_id
        self._key = key

    @classmethod
    def new(cls, run_id: str) -> Kek:
        """Return a random key."""
        return cls(secrets.token_hex(16), run_id, secrets.token_bytes(KEY_BYTES))

    @classmethod
    def unwrap(cls, wrapped: WrappedKek, *keys: PrivateKey) -> Kek:
        """Return the key that the holders of some private keys can open together.

        Raises:
            WrongKeyError: nothing is encrypted to these keys, a recipient that is needed is missing, or it was changed.
        """
        own = {key.public.key_id: key for key in keys if key.public.key_id in wrapped.wrapped}
        used = sorted(own)[:1] if wrapped.need == "any" else sorted(wrapped.wrapped)
        if not used or not own.keys() >= set(used):
            raise WrongKeyError
        info = _kek_info(wrapped)
        return cls(
            wrapped.kek_id, wrapped.run_id, _xor([own[name].decrypt(wrapped.wrapped[name], info) for name in used])
        )

    def wrap(self, recipients: Sequence[PublicKey], need: Need = "any") -> WrappedKek:
        """Encrypt the key to each recipient; with `need: all`, one share of it to each, which say nothing without the others.

        The shares are random but for the last, and their exclusive or is the key (n-out-of-n secret sharing: Menezes et al.,
        "Handbook of Applied Cryptography", 1996, section 12.7.1).
        """
        frame = WrappedKek(self.kek_id, self.run_id, dict.fromkeys((own.key_id for own in recipients), b""), need)
        shares = [self._key] * len(recipients)
        if need == "all":
            shares = [secrets.token_bytes(KEY_BYTES) for _ in recipients[1:]]
            shares.append(_xor([self._key, *shares]))
        info = _kek_info(frame)
        pairs = zip(recipients, shares, strict=True)
        return replace(frame, wrapped={own.key_id: own.encrypt(share, info) for own, share in pairs})

    def seal(self, image_id: str, region: int, codec: str, plaintext: bytes) -> Sealed:
        """Encrypt one region with a new data key."""
        place, key = Place(self.run_id, image_id, region, codec), secrets.token_bytes(KEY_BYTES)
        about = place.to_bytes()
        ciphertext = AESGCM(key).encrypt(_ZERO_NONCE, plaintext, about)
        return Sealed(place, self.kek_id, ciphertext, self._wrap(key, place), _commit(key, about))

    def rewrap(self, sealed: Sealed, old: Kek) -> Sealed:
        """Return a region whose data key this key wraps instead of another one; the ciphertext stays.

        Raises:
            WrongKeyError: the other key did not wrap it, or it was changed.
        """
        wrapped = self._wrap(old.data_key(sealed), sealed.place)
        return replace(sealed, kek_id=self.kek_id, wrapped_key=wrapped)

    def data_key(self, sealed: Sealed) -> bytes:
        """Return the data key of one region, which opens that region alone.

        Raises:
            WrongKeyError: it was wrapped by another key, belongs elsewhere, or was changed.
        """
        nonce, body = sealed.wrapped_key[:_NONCE_BYTES], sealed.wrapped_key[_NONCE_BYTES:]
        try:
            key = AESGCM(self._key).decrypt(nonce, body, self._about(sealed.place))
        except (InvalidTag, ValueError):
            raise WrongKeyError from None
        if not hmac.compare_digest(_commit(key, sealed.place.to_bytes()), sealed.commitment):
            raise WrongKeyError
        return key

    def _wrap(self, key: bytes, place: Place) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, key, self._about(place))

    def _about(self, place: Place) -> bytes:
        return _canonical({"what": "anon-batch wrapped data key 1", "kek_id": self.kek_id, **place._asdict()})

    def __repr__(self) -> str:
        return f"Kek({self.kek_id})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


def check_need(value: object) -> Need:
    """Return how many recipients are needed, as a file says it.

    Raises:
        ValueError: it says something else.
    """
    if value not in get_args(Need):
        raise ValueError(f"need: {value}")
    return value  # type: ignore[return-value]


def open_sealed(sealed: Sealed, data_key: bytes) -> bytes:
    """Return the plaintext of one region.

    Raises:
        WrongKeyError: the data key is another region's, or something was changed.
    """
    about = sealed.place.to_bytes()
    if not hmac.compare_digest(_commit(data_key, about), sealed.commitment):
        raise WrongKeyError
    try:
        return AESGCM(data_key).decrypt(_ZERO_NONCE, sealed.ciphertext, about)
    except (InvalidTag, ValueError):
        raise WrongKeyError from None


def _commit(key: bytes, about: bytes) -> bytes:
    return hmac.digest(key, b"anon-batch commitment to a data key 1\x00" + about, "sha256")[:_COMMITMENT_BYTES]


def _kek_info(own: WrappedKek) -> bytes:
    fields: dict[str, object] = {"run_id": own.run_id, "kek_id": own.kek_id}
    if own.need == "any":
        return _canonical({"what": "anon-batch key of a shard 1", **fields})
    return _canonical({"what": "anon-batch share of the key of a shard 1", **fields, "of": sorted(own.wrapped)})


def _xor(parts: Sequence[bytes]) -> bytes:
    """Return the exclusive or of keys.

    Raises:
        WrongKeyError: one has another length.
    """
    if any(len(own) != KEY_BYTES for own in parts):
        raise WrongKeyError
    total = 0
    for own in parts:
        total ^= int.from_bytes(own, "big")
    return total.to_bytes(KEY_BYTES, "big")


def _canonical(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
