"""Ground truth of WIDER FACE."""

from __future__ import annotations

from anon_batch.errors import ManifestError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.names import has_image_suffix
from anon_batch.manifest.truth.labelled import Box, Entries, Labelled, with_labels
from anon_batch.records import DEFAULT_LABEL


def read_wider(text: str, where: str, labels: LabelMap) -> Entries:
    """Read WIDER FACE: name, count, then a line `x y w h blur expression illumination invalid occlusion pose` a face.

    A count of 0 is followed by one line of zeros (format: the readme of WIDER FACE's annotations).
    """
    lines = text.splitlines()
    out: Entries = {}
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        at += 1
        if not name:
            continue
        try:
            if not has_image_suffix(name) or name in out:
                raise ValueError("expected the name of an image that has not come before")
            count = int(lines[at])
            faces = [[float(v) for v in line.split()] for line in lines[at + 1 : at + 1 + count]]
            if count < 0 or len(faces) < count or any(len(f) < 4 for f in faces):
                raise ValueError(f"expected {count} lines of x y w h ...")
        except (ValueError, IndexError) as exc:
            raise ManifestError(f"{where}, line {at}, {name[:80]!r}: not WIDER FACE ({exc})") from None
        boxes = (Box(f[0], f[1], f[0] + f[2], f[1] + f[3], DEFAULT_LABEL, len(f) > 7 and f[7] == 1) for f in faces)
        out[name] = Labelled(with_labels(boxes, labels))
        at += 1 + count
        if count == 0 and at < len(lines) and set(lines[at].split()) == {"0"}:
            at += 1
    return out
