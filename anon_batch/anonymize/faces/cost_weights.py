"""What a donor's misfits cost: the weights of `retrieve`, and what its labels say."""

from __future__ import annotations

from dataclasses import dataclass

# What donors are like, and what surroundings tell about it: column of the bank's labels, groups of its values, and what a donor
# of an unlikely group costs, in units of minus the logarithm of its probability.
TRAITS: tuple[tuple[str, tuple[tuple[str, ...], ...], float], ...] = (
    ("age", (("baby", "child"), ("teen", "young"), ("middle",), ("old",)), 1.5),
    ("sex", (("f",), ("m", "u")), 1.5),
    ("skin", (("1", "2"), ("3",), ("4", "5")), 0.7),
    ("hair", (("black", "brown"), ("blond",), ("red",), ("grey", "white"), ("bald", "covered", "dyed")), 1.0),
    ("beard", (("n",), ("stubble", "y")), 1.0),
)
# What costs in any surroundings, because it seldom fits.
ODD: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("glasses", ("y",), 8.0),
    ("mouth", ("open",), 5.0),
    ("mouth", ("teeth",), 2.0),
    ("beard", ("y",), 4.0),
    ("beard", ("stubble",), 0.5),
    ("age", ("baby", "child"), 6.0),
    ("age", ("old",), 4.0),
    ("light", ("side", "rim", "dark"), 2.0),
    ("fringe", ("c",), 5.0),
    ("fringe", ("y",), 1.0),
    ("grade", ("2",), 4.5),
    ("grade", ("3",), 8.0),
)


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What a misfit costs, and among how many donors a seed picks.

    Chosen by eye on contact sheets and by the probe, the seam and the Frechet distance. No photographs were set apart for that,
    so the published figures are of images on which these numbers were chosen.

    Args:
        ring, skin, gradient: of a root mean square difference, in Lab units: of all surroundings, of skin, of the gradient of L.
        robust, robust_most: the same of all surroundings for donors on the shortlist, with differences cut off at `robust_most`.
        uncovered: of the share of the surroundings that a donor's image does not reach, above a fifth.
        outline: of the share of the surroundings where only one of both sides shows skin.
        pose, pose_free: of the landmarks' distance above `pose_free`, in sides of the frame.
        box, box_free: of the distance of the box's sides above `box_free`, likewise.
        unlit: of a donor's own light.
        tone: of the distance from the asked tone, in Lab units.
        code, code_sharpness: of the encoder's cosine, and the factor that turns cosines into belief.
        ring_tone: share of skin beside the mask in the asked tone, where there is enough of it.
        mean_tone: share of an average face in the rest of the asked tone.
        trait: of donors of unlikely groups.
        painted, step, cut: of the shares of a donor that blending would paint over, and of its border that would be a step in
            skin, or the end of a face that is cut off: `foresee`.
        child, child_likely: of a child's face where the belief in one is 0, falling to nothing at `child_likely`.
        beard, beard_likely: the same of a beard, by the belief in a man.
        slack, widest: costs above the best within which all donors, and at least the `fewest` best, are drawn from.
        fewest, most: how many donors a seed picks among.
    """

    ring: float = 1 / 40
    robust: float = 1 / 10
    robust_most: float = 20.0
    uncovered: float = 1.0
    skin: float = 1 / 8
    gradient: float = 1 / 12
    outline: float = 8.0
    pose_free: float = 0.008
    pose: float = 80.0
    box_free: float = 0.012
    box: float = 90.0
    unlit: float = 0.7
    tone: float = 1 / 2.5
    painted: float = 14.0
    step: float = 9.0
    cut: float = 9.0
    code: float = 12.0
    code_sharpness: float = 12.0
    ring_tone: float = 0.8
    mean_tone: float = 0.5
    trait: float = 1.0
    child: float = 9.0
    child_likely: float = 0.8
    beard: float = 7.0
    beard_likely: float = 0.85
    slack: float = 2.0
    widest: float = 9.0
    fewest: int = 20
    most: int = 28


DEFAULT_WEIGHTS = CostWeights()
