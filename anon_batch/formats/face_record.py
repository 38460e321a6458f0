"""What the index of faces holds of one image, before it is encrypted: the key of its templates, and each region's template.

    key of the templates        32 bytes
    for each published region:  state, 1 byte; length of the person's token, 1 byte, and the token; a template, if any, 64 bytes

A region without a template is there too, with the reason, so that a search can say whom it cannot find.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from anon_batch.errors import IntegrityError

CODEC = "srp512-v1"
_KEY_BYTES, _TEMPLATE_BYTES = 32, 64

State = Literal["indexed", "no face", "no landmarks", "small"]
_STATES: tuple[State, ...] = get_args(State)


class IndexedFace(NamedTuple):
    """A published region in the index.

    Args:
        state: `indexed`, or why it has no template: its label is not `face`, its detector gave no landmarks, or it is too small.
        person: token that its seed derives from; None where no identity is kept.
        template: 64 bytes; empty unless `indexed`.
    """

    state: State
    person: str | None = None
    template: bytes = b""


class FaceRecord(NamedTuple):
    """The faces of one image.

    Args:
        key: of the templates, 32 bytes.
        faces: one for each published region, in their order.
    """

    key: bytes
    faces: tuple[IndexedFace, ...]

    def __repr__(self) -> str:
        return f"FaceRecord({len(self.faces)} regions)"

    def to_bytes(self) -> bytes:
        """Return the plaintext of the image's record."""
        parts = [self.key]
        for face in self.faces:
            person = (face.person or "").encode("utf-8", "surrogatepass")
            if len(person) > 255:
                raise ValueError("a person's token has more than 255 bytes")
            parts += [bytes((_STATES.index(face.state), len(person))), person, face.template]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> FaceRecord:
        """Parse the plaintext; `where` names the image, for messages.

        Raises:
            IntegrityError: it is damaged.
        """
        faces, at = [], _KEY_BYTES
        try:
            while at < len(data):
                state, size = _STATES[data[at]], data[at + 1]
                person = data[at + 2 : at + 2 + size].decode("utf-8", "surrogatepass")
                at += 2 + size
                template = data[at : at + _TEMPLATE_BYTES] if state == "indexed" else b""
                at += len(template)
                if state == "indexed" and len(template) != _TEMPLATE_BYTES:
                    raise IndexError
                faces.append(IndexedFace(state, person or None, template))
            if at != len(data) or len(data) < _KEY_BYTES:
                raise IndexError
        except (IndexError, ValueError):
            raise IntegrityError(f"{where}: its record in the index of faces is damaged") from None
        return cls(data[:_KEY_BYTES], tuple(faces))
