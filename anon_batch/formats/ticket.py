"""A ticket: one sealed region, with its data key encrypted to somebody else's key."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from anon_batch.errors import ConfigError
from anon_batch.sealing.envelope import Place, Sealed, open_sealed
from anon_batch.sealing.key_files import PrivateKey, PublicKey

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Ticket:
    """Opens one region, and nothing else.

    Args:
        sealed: the region; its wrapped key is not in the ticket.
        wrapped: the data key, encrypted to the holder of the ticket.
    """

    sealed: Sealed
    wrapped: bytes

    @classmethod
    def issue(cls, sealed: Sealed, data_key: bytes, to: PublicKey) -> Ticket:
        """Return a ticket for the holder of a key.

        Raises:
            WrongKeyError: the region was changed.
        """
        open_sealed(sealed, data_key)  # because a ticket that opens nothing is found out too late
        return cls(sealed, to.encrypt(data_key, _info(sealed.place)))

    def data_key(self, key: PrivateKey) -> bytes:
        """Return the data key.

        Raises:
            WrongKeyError: the ticket is for another key, or was changed.
        """
        return key.decrypt(self.wrapped, _info(self.sealed.place))


def write_tickets(tickets: list[Ticket]) -> bytes:
    """Return the content of a file of tickets."""
    entries = [
        {
            **own.sealed.place._asdict(),
            "ciphertext": _encode(own.sealed.ciphertext),
            "commitment": _encode(own.sealed.commitment),
            "wrapped": _encode(own.wrapped),
        }
        for own in tickets
    ]
    return json.dumps({"what": "anon-batch tickets", "version": _VERSION, "tickets": entries}, indent=1).encode()


def read_tickets(data: bytes, uri: str) -> list[Ticket]:
    """Parse a file of tickets; `uri` is its address, for messages.

    Raises:
        ConfigError: it holds none, or is damaged.
    """
    try:
        fields = json.loads(data)
        if fields["version"] != _VERSION or not fields["tickets"]:
            raise ValueError("another version, or no ticket")
        return [_read(own) for own in fields["tickets"]]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{uri}: no tickets of `anon-batch keys ticket`, or damaged ({exc})") from None


def _read(own: dict[str, str]) -> Ticket:
    place = Place(str(own["run_id"]), str(own["image_id"]), int(own["region"]), str(own["codec"]))
    return Ticket(
        Sealed(place, "", _decode(own["ciphertext"]), b"", _decode(own["commitment"])), _decode(own["wrapped"])
    )


def _info(place: Place) -> bytes:
    return b"anon-batch ticket 1\x00" + place.to_bytes()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
