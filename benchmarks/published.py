"""Published figures that stand beside ours, and how their protocol differs."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A published share of average precision kept: the method, and our method that is closest to it."""

    method: str
    kept: float
    closest: str


SOURCE = (
    "H. Hukkelås, R. Mester, F. Lindseth, DeepPrivacy: A Generative Adversarial Network for Face Anonymization, ISVC 2019 "
    "(arXiv 1909.04538)"
)
ROWS = (
    Published("DeepPrivacy (generated faces)", 0.993, "gan"),
    Published("pixelation 8x8", 0.967, "pixelate"),
    Published("heavy blur: box filter of 30 % of the face's width", 0.905, "blur"),
    Published("black-out", 0.414, "solid"),
)
DIFFERENCES = """\
they measure WIDER FACE's validation set, one figure for its three difficulties together; photographs are another data set, with other faces
their detector is DSFD, a large one trained on WIDER FACE; ours is the small one named above, also trained there
they anonymize the annotated boxes of WIDER FACE, no more, so the outline of what is blurred or black is the very box that is to be found
we anonymize what our own detectors find, wider than the box and shaped as a face, and leave what they miss
their pixelation shrinks a face to 8 x 8 and enlarges it by linear interpolation, a smooth blur; ours renders cells of one colour
their blur is weaker: a filter of 30 % of the face's width; ours is a Gaussian with a sigma of 20 % of the region's longer side
average precision says what a detector still finds, and nothing about who is recognised
""".splitlines()  # noqa: E501
