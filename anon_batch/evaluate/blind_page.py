"""The blind test: a page that shows single faces and asks whether each is real or replaced.

It is one file that loads nothing. It contains untouched faces, so it belongs beside the evaluation's other private results.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from anon_batch.evaluate.blind_sample import CLASSES, BlindFace
from anon_batch.records import PixelArray

_TEMPLATE = "blind.html"
_TINY_PX = 40  # longer side of a face's box below which it is shown at twice its size


def render_blind_page(faces: Sequence[BlindFace], method: str, seed: int) -> bytes:
    """Return the page; the same arguments give the same bytes.

    Half of the faces are replaced, chosen and ordered by the seed. The truth is in the page, in a form that is not readable at a
    glance.

    Args:
        faces: at least one, each with an output of the method.
        method: whose outputs to show.
        seed: of the choice and the order.
    """
    generator = np.random.default_rng([seed, 1])
    order = generator.permutation(len(faces))
    replaced = generator.permutation(np.arange(len(faces)) % 2 == 0)
    items = []
    for place, index in enumerate(order):
        face = faces[index]
        shown = face.outputs[method] if replaced[place] else face.original
        items.append(
            {
                "image": _data_uri(shown),
                "width": shown.shape[1],
                "height": shown.shape[0],
                "zoom": 2 if face.side_px < _TINY_PX else 1,
                "size_class": face.size_class,
                "side_px": round(face.side_px, 1),
            }
        )
    identity = hashlib.sha256("".join(item["image"] for item in items).encode()).hexdigest()[:16]
    data = {
        "id": identity,
        "method": method,
        "seed": seed,
        "classes": CLASSES,
        "sealed": _seal(replaced, identity, generator),
        "items": items,
    }
    # Within a script element only "<" could end the data early.
    text = json.dumps(data).replace("<", "\\u003c")
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(template).render(count=len(items), data=Markup(text))  # noqa: S704  escaped above
    return page.encode()


def _seal(replaced: npt.NDArray[np.bool_], identity: str, generator: np.random.Generator) -> str:
    """Return the truth as base64: the lowest bit of each byte, under the page's id; the other bits are random."""
    mask = np.frombuffer(identity.encode(), np.uint8)[np.arange(len(replaced)) % len(identity)]
    noise = generator.integers(0, 128, len(replaced), dtype=np.uint8) << 1
    sealed = (noise | replaced.astype(np.uint8)) ^ mask
    return base64.b64encode(sealed.astype(np.uint8).tobytes()).decode()


def _data_uri(pixels: PixelArray) -> str:
    """Return an image as PNG in the page, because a lossy format would hide what is to be judged."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
