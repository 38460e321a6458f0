"""Average linkage under cannot-links: clusters of the largest mean similarity merge first, and never two of one image.

Single linkage chains: at a cosine of 0.6 it joins hundreds of different people, where average linkage joins a handful.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def average_linkage(similarity: Values, images: Numbers, threshold: float) -> Numbers:
    """Merge faces into clusters until no two clusters that may merge have a mean similarity from the threshold on.

    The mean over all pairs between two clusters is kept by the formula of Lance and Williams 1967, "A general theory of
    classificatory sorting strategies". Each row's best partner is remembered, so that n faces take about n**2 steps.

    Args:
        similarity: (n, n) symmetric cosines.
        images: (n,) number of the image of each face.
        threshold: least mean similarity.

    Returns:
        (n,) for each face the lowest position of its cluster. Of equal means the one with the lowest positions merges first.
    """
    n = len(images)
    means = np.array(similarity, np.float64)
    means[images[:, None] == images[None, :]] = -np.inf  # also of a face with itself; a mean with it stays forbidden
    sizes, members = np.ones(n), [[at] for at in range(n)]
    partner = means.argmax(axis=1) if n else np.zeros(0, np.int64)
    best = means[np.arange(n), partner]
    while n and best.max() >= threshold:
        at = int(best.argmax())
        low, high = sorted((at, int(partner[at])))
        merged = (sizes[low] * means[low] + sizes[high] * means[high]) / (sizes[low] + sizes[high])
        merged[[low, high]] = -np.inf
        means[low], means[:, low] = merged, merged
        means[high], means[:, high] = -np.inf, -np.inf
        sizes[low] += sizes[high]
        members[low] += members[high]
        best[high], sizes[high], members[high] = -np.inf, 0, []
        stale = np.flatnonzero((partner == low) | (partner == high) | (np.arange(n) == low))
        for row in stale[stale != high]:
            partner[row] = means[row].argmax()
            best[row] = means[row, partner[row]]
    labels = np.arange(n)
    for own in members:
        labels[own] = min(own, default=0)
    return labels
