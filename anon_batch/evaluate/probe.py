"""The probe: whether a linear classifier tells replaced faces from untouched ones in images that it has not seen.

Ridge regression (Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems") on principal
components, trained on the other images. It stands for a model that is trained on the release and could learn the artefact. The
area under its ROC curve is the chance that a replaced face gets the higher score of two: 0.5 means that it cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FOLDS = 5
MIN_FACES = 20
MIN_GROUPS = 10
_COMPONENTS = 120
_RIDGE = 300.0
_DRAWS = 1000  # of the bootstrap
_MIN_SPREAD = 1e-3  # of a feature, because constant ones must not be scaled up

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProbeMeasure:
    """How well replaced faces are separated from untouched ones.

    Args:
        faces: untouched, and as many replaced.
        auc: area under the ROC curve.
        interval: its 95 % interval, by bootstrap over images.
        accuracy: mean share of untouched and replaced faces on the right side of the threshold.
    """

    faces: int
    auc: float
    interval: tuple[float, float]
    accuracy: float


@dataclass(slots=True, eq=False)
class ProbeSamples:
    """Features of the same faces untouched and replaced.

    Args:
        groups: of each face, what must not be split between training and test, such as an image or a person.
        slices: of each face, names of the subsets that it belongs to, besides `all`.
        untouched: one row (D,) for each face.
        replaced: likewise.
    """

    groups: list[str] = field(default_factory=list)
    slices: list[frozenset[str]] = field(default_factory=list)
    untouched: list[Values] = field(default_factory=list)
    replaced: list[Values] = field(default_factory=list)

    def add(self, group: str, slices: Sequence[str], untouched: Values, replaced: Values) -> None:
        """Add a face."""
        self.groups.append(group)
        self.slices.append(frozenset(slices))
        self.untouched.append(untouched)
        self.replaced.append(replaced)

    @property
    def enough(self) -> bool:
        """Whether there are enough faces and images for a measure."""
        return len(self.groups) >= MIN_FACES and len(set(self.groups)) >= MIN_GROUPS


def probe(samples: ProbeSamples, seed: int = 0) -> dict[str, ProbeMeasure]:
    """Return slice -> measure, `all` first; empty if there are too few faces. Small slices are left out.

    Args:
        samples: faces.
        seed: of the folds and the bootstrap.
    """
    if not samples.enough:
        return {}
    scores, group_of = held_out_scores(samples, seed), np.unique(samples.groups, return_inverse=True)[1]
    found = sorted({name for own in samples.slices for name in own})
    members = {"all": np.ones(len(group_of), np.bool_)}
    members |= {name: np.array([name in own for own in samples.slices]) for name in found}
    return {
        name: _measure(scores[:, chosen], group_of[chosen], seed)
        for name, chosen in members.items()
        if chosen.sum() >= MIN_FACES and len(set(group_of[chosen])) >= MIN_GROUPS
    }


def held_out_scores(samples: ProbeSamples, seed: int = 0) -> Values:
    """Return the scores (2, N) of untouched and replaced faces, each by the classifier that has not seen its image.

    Args:
        samples: enough faces.
        seed: of the folds.
    """
    names, group_of = np.unique(samples.groups, return_inverse=True)
    folds = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[group_of]
    return _scores(np.stack(samples.untouched), np.stack(samples.replaced), folds)


def describe(measures: Mapping[str, ProbeMeasure]) -> str:
    """Return one line, such as "all .82 [.79, .85] (484)"."""
    return "; ".join(
        f"{name} {own.auc:.3f} [{own.interval[0]:.3f}, {own.interval[1]:.3f}] ({own.faces})"
        for name, own in measures.items()
    )


def _scores(untouched: Values, replaced: Values, folds: npt.NDArray[np.int64]) -> Values:
    """Return scores (2, N) of untouched and replaced faces, each by the classifier that has not seen its image."""
    scores = np.zeros((2, len(folds)))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        rows = np.concatenate([untouched[train], replaced[train]])
        wanted = np.repeat([-0.5, 0.5], int(train.sum()))
        mean, spread = rows.mean(axis=0), rows.std(axis=0) + _MIN_SPREAD
        scaled = (rows - mean) / spread
        axes = np.linalg.svd(scaled, full_matrices=False)[2][:_COMPONENTS].T
        components = scaled @ axes
        ridge = _RIDGE * np.eye(components.shape[1])
        weights = axes @ np.linalg.solve(components.T @ components + ridge, components.T @ wanted)
        for row, features in enumerate((untouched, replaced)):
            scores[row, test] = (features[test] - mean) / spread @ weights
    return scores


def _measure(scores: Values, groups: npt.NDArray[np.int64], seed: int) -> ProbeMeasure:
    untouched, replaced = scores
    # Counted by pairs of images once, because each draw of the bootstrap only weighs images.
    names, member = np.unique(groups, return_inverse=True)
    higher = (replaced[:, None] > untouched[None]) + 0.5 * (replaced[:, None] == untouched[None])
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, (member[:, None], member[None]), higher)
    sizes = np.bincount(member).astype(np.float64)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), _DRAWS).astype(np.float64)
    areas = ((draws @ wins) * draws).sum(axis=1) / np.square(draws @ sizes)
    low, high = (float(v) for v in np.percentile(areas, (2.5, 97.5)))
    right = ((replaced > 0).mean() + (untouched <= 0).mean()) / 2
    return ProbeMeasure(len(member), float(wins.sum() / len(member) ** 2), (low, high), float(right))
