"""Shape, expansion and soft edge of a treatment where they are not given: they depend on label, method and each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anon_batch.face_shape import ELLIPSE_EXPANSION, EXPANSION, LEAST_EXPANSION
from anon_batch.records import PLATE_LABEL, TEXT_LABEL, Shape

FACE_METHODS = ("swap", "gan")  # that show a new face
PLATE_METHOD = "plate"
BODY_METHOD = "mannequin"
# Label -> expansion of those that are rectangles. That of plates was chosen on photographs of cars, for boxes of `licence_plate`,
# which are tight.
RECTANGLES: Mapping[str, float] = {PLATE_LABEL: 1.5, TEXT_LABEL: 1.1}
OUTLINE_EXPANSION = 1.1  # of an outline, and of the rectangle where there is none
SEAM_ROOM = 0.16  # of the mask's longer side, in which a new face may meet its surroundings


class MaskSettings(NamedTuple):
    """What a region's mask is made with: see `Treatment`."""

    shape: Shape
    expansion: float
    soft_edge: float


def complete(
    method: str, shape: Shape | None, expansion: float | None, soft_edge: float | None, label: str | None = None
) -> MaskSettings:
    """Return the settings with the defaults in place of None; `label` is None where it is not known.

    Raises:
        ValueError: the expansion of the shape `face` is below its limit.
    """
    new_face = method in FACE_METHODS
    label = PLATE_LABEL if method == PLATE_METHOD else label
    if shape is None:
        shape = "rectangle" if label in RECTANGLES else "face" if new_face else "ellipse"
    if expansion is None:
        if shape == "outline":
            expansion = OUTLINE_EXPANSION
        else:
            expansion = EXPANSION if shape == "face" else RECTANGLES.get(label or "", ELLIPSE_EXPANSION)
    if soft_edge is None:
        soft_edge = SEAM_ROOM if new_face and shape == "face" else 0.0
    if shape == "face" and expansion < LEAST_EXPANSION:
        raise ValueError(
            f"expansion {expansion:g} is too small for the shape `face`: expected at least {LEAST_EXPANSION}, because what stays "
            "visible around a smaller mask lets persons be recognised (10.8 % of them at 1.0, 4.9 % at 1.1)"
        )
    return MaskSettings(shape, expansion, soft_edge)
