"""The boxes that people drew in reviews of a release, and those of a row that its audit holds already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anon_batch.detect.drawn import NAME, drawn_boxes, without_repeats
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.verdicts_json import DrawnBox, Verdicts
from anon_batch.records import Detections

_PREFIX = "verdicts-"


def read_drawn_boxes(ledger: Ledger, run_id: str) -> tuple[dict[str, tuple[DrawnBox, ...]], int]:
    """Read all verdicts that reviews of a release put into its ledger.

    What a review page planted is no image of the release, and no verdict speaks of it.

    Args:
        ledger: of the release.
        run_id: of its run; verdicts of another are left out.

    Returns:
        Image id -> boxes around what was missed, and the number of images that were marked so without a box.

    Raises:
        ConfigError: another version of this package wrote a file.
        IntegrityError: a file is damaged.
    """
    drawn: dict[str, tuple[DrawnBox, ...]] = {}
    boxless: set[str] = set()
    for info in ledger.objects(layout.LEDGER_REVIEW):
        if not (info.key.startswith(_PREFIX) and info.key.endswith(".json")):
            continue
        address = ledger.address(f"{layout.LEDGER_REVIEW}/{info.key}")
        verdicts = Verdicts.from_json(ledger.storage.read(address), address)
        if verdicts.run_id != run_id:
            continue
        for own in verdicts.verdicts:
            if own.boxes:
                drawn[own.image_id] = (*drawn.get(own.image_id, ()), *own.boxes)
            elif own.mark == "missed":
                boxless.add(own.image_id)
    return drawn, len(boxless - drawn.keys())


def drawn_in_audit(audit: Mapping[str, Any]) -> tuple[DrawnBox, ...]:
    """Return the drawn boxes with which a row was done last."""
    found = [own for own in audit["detections"] or () if own["detector"] == NAME]
    return tuple(
        DrawnBox(own["x1"], own["y1"], own["x2"], own["y2"], own["label"])
        for own in found
        if own["x1"] < own["x2"] and own["y1"] < own["y2"]  # else it lay outside the image, and was clipped to nothing
    )


def union(*groups: Sequence[DrawnBox]) -> tuple[DrawnBox, ...]:
    """Return all boxes, each once."""
    every = [box for group in groups for box in group]
    boxes = to_detections(every)
    kept = without_repeats(boxes)
    edges = zip(kept.boxes.tolist(), kept.labels, strict=True)
    return tuple(DrawnBox(x1, y1, x2, y2, label) for (x1, y1, x2, y2), label in edges)


def to_detections(boxes: Sequence[DrawnBox]) -> Detections:
    """Return drawn boxes as detections."""
    edges = np.array([box.edges for box in boxes], np.float32).reshape(-1, 4)
    return drawn_boxes(edges, [box.label for box in boxes])
