"""LEDGER/keys/seals.json and link.json: to whom originals are sealed, and the index of faces is encrypted. Public keys alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.sealing.envelope import Need, check_need
from anon_batch.sealing.key_files import PrivateKey, PublicKey, WrongKeyError, read_public_key

_VERSION = 1
_CANARY = b"anon-batch: this key opens what is sealed to it"
What = Literal["region", "file", "templates"]


@dataclass(frozen=True, slots=True)
class Seals:
    """What is kept encrypted, and to whom. Picklable; it holds no secret.

    Args:
        what: `region` or `file`, see `seal.what` in the job; `templates` of faces.
        recipients: whose private keys open it.
        canaries: id of a key -> a known text that was encrypted to it, so that its holder can try the key.
        need: how many of the recipients are needed; see `seal.need` in the job.
        about: further JSON values, such as by which recogniser templates were made.
    """

    what: What
    recipients: tuple[PublicKey, ...]
    canaries: dict[str, bytes] = field(default_factory=dict, repr=False)
    need: Need = "any"
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def new(
        cls,
        what: What,
        recipients: tuple[PublicKey, ...],
        run_id: str,
        need: Need = "any",
        about: Mapping[str, Any] | None = None,
    ) -> Seals:
        """Return the seals of a run, with a canary for each recipient."""
        canaries = {own.key_id: own.encrypt(_CANARY, _info(run_id)) for own in recipients}
        return cls(what, recipients, canaries, need, about or {})

    @property
    def key_ids(self) -> list[str]:
        """Ids of the recipients' keys, sorted."""
        return sorted(own.key_id for own in self.recipients)

    def opens(self, key: PrivateKey, run_id: str) -> bool:
        """Return whether a private key opens what is sealed."""
        canary = self.canaries.get(key.public.key_id)
        try:
            return canary is not None and key.decrypt(canary, _info(run_id)) == _CANARY
        except WrongKeyError:
            return False

    def to_json(self) -> bytes:
        """Return the content of the file."""
        keys = [
            {
                "key_id": own.key_id,
                "suite": own.suite,
                "pem": own.pem.decode(),
                "canary": base64.b64encode(self.canaries[own.key_id]).decode(),
            }
            for own in self.recipients
        ]
        need = {} if self.need == "any" else {"need": self.need}
        about = {"about": dict(self.about)} if self.about else {}
        fields = {"version": _VERSION, "what": self.what, **need, "recipients": keys, **about}
        return json.dumps(fields, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Seals:
        """Parse the file; `uri` is its address, for messages.

        Raises:
            IntegrityError: it is damaged, or another version of this package wrote it.
        """
        try:
            fields = json.loads(data)
            if fields["version"] != _VERSION or fields["what"] not in get_args(What):
                raise ValueError("another version")
            keys = [(read_public_key(own["pem"].encode(), uri), own) for own in fields["recipients"]]
            if not keys or any(key.key_id != own["key_id"] for key, own in keys):
                raise ValueError("a key has another id")
            need, about = check_need(fields.get("need", "any")), dict(fields.get("about", {}))
            canaries = {key.key_id: base64.b64decode(own["canary"], validate=True) for key, own in keys}
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as exc:
            raise IntegrityError(f"{uri}: damaged ({exc})") from None
        return cls(fields["what"], tuple(key for key, _ in keys), canaries, need, about)


def _info(run_id: str) -> bytes:
    return json.dumps({"what": "anon-batch canary 1", "run_id": run_id}, separators=(",", ":")).encode()
