"""Choose a donor that fits: the cost of every donor for a face, and the seed's choice among the best.

The costs of all faces of a batch come from a few matrix products. Their factors are small whole numbers, and every sum stays
below 2^24, so float32 holds each of them exactly: the result does not depend on the order of the sums, and so neither on the
batch, nor on the library, nor on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from anon_batch import keys
from anon_batch.anonymize.faces import landmarks, surroundings
from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.cells import LAB_STEP, MATTE_STEPS, compared_cells, shrink, whole_colours, whole_slopes
from anon_batch.anonymize.faces.cost_weights import DEFAULT_WEIGHTS, ODD, TRAITS, CostWeights
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.encoder import SurroundingsEncoder
from anon_batch.anonymize.faces.fit import box_sides
from anon_batch.anonymize.faces.foresee import border_of, foresee
from anon_batch.anonymize.faces.surroundings import Surroundings
from anon_batch.errors import ConfigError
from anon_batch.records import FloatArray

_WEIGHT_STEPS = np.float32(7)
_CODE_STEPS = np.float32(127)
_SHORTLIST = 64  # donors that are looked at closely

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The donor for a face.

    Args:
        donor: index in the bank.
        tone: (3,) float64, Lab of a cheek that the surroundings ask for.
        cost: of this donor.
        best: cost of the donor that fits best.
    """

    donor: int
    tone: Array
    cost: float
    best: float


class Retrieval:
    """Finds donors that fit.

    Args:
        bank: the donors.
        encoder: of surroundings, with codes that fit the bank's.
        device: where the products run: `cpu`, `cuda` or `cuda:N`.
        weights: of the costs.

    Raises:
        ConfigError: the device does not exist.
        ModelError: the bank lacks labels that the choice needs.
    """

    def __init__(
        self,
        bank: DonorBank,
        encoder: SurroundingsEncoder,
        device: str = "cpu",
        weights: CostWeights = DEFAULT_WEIGHTS,
    ) -> None:
        self._weights, self._encoder, self._device = weights, encoder, torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "methods `swap` and `gan`: engine.num_gpus asks for a GPU, but torch finds no CUDA device; install torch with "
                "CUDA on the workers, or set engine.num_gpus: 0"
            )
        points, boxes = bank.tensors["landmarks"].astype(np.float64), bank.tensors["boxes"].astype(np.float64)
        to_frame = landmarks.similarity(points, np.broadcast_to(surroundings.IDEAL, points.shape))
        self._pose = _pose(landmarks.apply(to_frame, points))
        self._sides = landmarks.apply(to_frame, box_sides(boxes))
        self._cheek = np.repeat(bank.tensors["cheek"].astype(np.float64), 2, axis=0)
        self._traits = [
            (np.stack([bank.label_is(column, *names) for names in groups], 1).astype(np.float64), cost)
            for column, groups, cost in TRAITS
        ]
        self._child = bank.label_is("age", "baby", "child").astype(np.float64)
        self._male = bank.label_is("sex", "m").astype(np.float64)
        self._bearded = bank.label_is("beard", "y", "stubble").astype(np.float64)
        self._own_cost = weights.unlit * np.repeat(bank.tensors["unlit"].astype(np.float64), 2)
        for column, names, cost in ODD:
            self._own_cost += cost * bank.label_is(column, *names)
        self._compared = compared_cells()
        self._load_pixels(bank)

    def _load_pixels(self, bank: DonorBank) -> None:
        """Build the matrices of whole numbers: colours, gradients, their squares, validity and codes."""
        whole = bank.cells()
        self._whole_colours, self._whole_inside, self._whole_faces = whole[0], whole[2], bank.face_cells()
        colours, slopes, inside = (values[:, self._compared] for values in whole)
        self._valid = inside
        self._colours = colours * inside[:, :, None]
        slopes = slopes * inside[:, :, None]
        codes = np.rint(bank.tensors["codes"] * _CODE_STEPS)
        count = len(bank)
        matrices = {
            "valid": self._valid.astype(np.float32),
            "colour": self._colours.reshape(count, -1),
            "colour_squared": (self._colours**2).sum(axis=2),
            "slope": slopes.reshape(count, -1),
            "slope_squared": (slopes**2).sum(axis=2),
            "face": bank.face_cells()[:, self._compared] * inside,
            "code": codes.astype(np.float32),
        }
        self._matrices = {
            name: torch.from_numpy(np.ascontiguousarray(m)).to(self._device) for name, m in matrices.items()
        }

    def choose(self, faces: Sequence[tuple[Crop, Surroundings]], seeds: Sequence[int]) -> list[Choice]:
        """Return a donor for each face, by its seed, among those whose cost is near the best one's."""
        if not faces:
            return []
        places = [self._quantise(place) for _, place in faces]
        sums = self._multiply(places)
        return [
            self._choose_one(crop, place, cells, {name: values[:, at] for name, values in sums.items()}, seed)
            for at, ((crop, place), cells, seed) in enumerate(zip(faces, places, seeds, strict=True))
        ]

    def choose_by_seed(self, faces: Sequence[tuple[Crop, Surroundings]], seeds: Sequence[int]) -> list[Choice]:
        """Return a donor for each face by its seed alone; of an image and its mirror image the one that costs less."""
        choices = []
        for (crop, place), seed in zip(faces, seeds, strict=True):
            cost, tone = self.costs(crop, place)
            image = 2 * image_of_seed(seed, len(cost) // 2)
            donor = image + int(cost[image + 1] < cost[image])
            choices.append(Choice(donor, tone, float(cost[donor]), float(cost.min())))
        return choices

    def costs(self, crop: Crop, place: Surroundings) -> tuple[Array, Array]:
        """Return the cost of every donor for one face, (2 n,), before the best are looked at closely, and the tone (3,)."""
        cells = self._quantise(place)
        sums = {name: values[:, 0] for name, values in self._multiply([cells]).items()}
        return self._cost(crop, place, sums)

    def _quantise(self, place: Surroundings) -> _Cells:
        """Return a face's surroundings in whole numbers at the compared cells."""
        inner = cv2.erode(place.known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        weight, skin, slope_weight = (
            np.rint(shrink(np.asarray(values, np.float32))[self._compared] * _WEIGHT_STEPS)
            for values in (place.weight, place.skin, place.weight * inner)
        )
        code = np.rint(self._encoder.encode(place.lab, place.known) * _CODE_STEPS)
        lab, slope = whole_colours(place.lab)[self._compared], whole_slopes(place.lab)[self._compared]
        return _Cells(lab, weight, skin, slope, slope_weight, code)

    def _multiply(self, places: Sequence[_Cells]) -> dict[str, Array]:
        """Return, for every donor and face, the weighted sums of squared differences and of valid weights, (2 n, faces)."""
        ring = self._distance("colour", [p.lab for p in places], [p.weight for p in places])
        skin = self._distance("colour", [p.lab for p in places], [p.skin for p in places])
        slope = self._distance("slope", [p.slope for p in places], [p.slope_weight for p in places])
        # Weights of cells where one side shows skin and the other does not: those of skin, less what both show as face, plus what
        # only the donor shows as face.
        outline = self._product("face", [p.weight - 2 * p.skin for p in places]) / float(MATTE_STEPS)
        code = self._product("code", [p.code for p in places])
        return {
            "ring": ring[0],
            "ring_norm": ring[1],
            "skin": skin[0],
            "skin_norm": skin[1],
            "slope": slope[0],
            "slope_norm": slope[1],
            "outline": outline + [float(p.skin.sum()) for p in places],
            "code": code / float(_CODE_STEPS**2),
        }

    def _distance(self, name: str, values: Sequence[FloatArray], weights: Sequence[FloatArray]) -> tuple[Array, Array]:
        squared = [weight * (value**2).sum(axis=1) for value, weight in zip(values, weights, strict=True)]
        crossed = [(weight[:, None] * value).ravel() for value, weight in zip(values, weights, strict=True)]
        total = self._product("valid", squared) - 2 * self._product(name, crossed)
        total += self._product(f"{name}_squared", weights)
        return total, self._product("valid", weights)

    def _product(self, name: str, columns: Sequence[FloatArray]) -> Array:
        right = torch.from_numpy(np.ascontiguousarray(np.stack(columns, axis=1), np.float32)).to(self._device)
        return np.asarray((self._matrices[name] @ right).cpu().numpy(), np.float64)

    def _cost(self, crop: Crop, place: Surroundings, sums: dict[str, Array]) -> tuple[Array, Array]:
        weights = self._weights
        cost = self._own_cost + weights.ring * _root_mean(sums["ring"], sums["ring_norm"])
        cost += weights.skin * place.trust * _root_mean(sums["skin"], sums["skin_norm"])
        cost += weights.gradient * _root_mean(sums["slope"], sums["slope_norm"], 1)
        cost += weights.outline * sums["outline"] / (sums["ring_norm"] + 1e-3)
        misfit = _rms_distance(self._pose, _pose(place.points))
        cost += weights.pose * np.maximum(misfit - weights.pose_free, 0)
        if crop.box is not None:
            misfit = _rms_distance(self._sides, landmarks.apply(place.to_frame, box_sides(crop.box)))
            cost += weights.box * np.maximum(misfit - weights.box_free, 0)
        belief = np.exp(weights.code_sharpness * (sums["code"] - sums["code"].max()))
        belief /= belief.sum()
        share = weights.ring_tone * place.trust
        likely = (belief[:, None] * self._cheek).sum(axis=0)
        likely += weights.mean_tone * (place.average - likely)
        tone = (1 - share) * likely + share * place.tone
        # Because a face is hardly lighter than the brightest parts of its scene, unless skin beside the mask shows that it is.
        tone[0] = min(tone[0], 0.9 * place.brightest + 8 + 40 * place.trust)
        cost += weights.tone * np.sqrt((((self._cheek - tone) * [0.9, 1, 1]) ** 2).sum(axis=1))
        for groups, weight in self._traits:
            cost += weights.trait * weight * _surprise(groups, belief)
        # Because a child's face on an adult's body shows at once, and an adult's on a child's less.
        doubt = 1 - float((belief * self._child).sum()) / weights.child_likely
        cost += weights.child * max(doubt, 0.0) * self._child
        # The same of a beard in a woman's surroundings.
        doubt = 1 - float((belief * self._male).sum()) / weights.beard_likely
        cost += weights.beard * max(doubt, 0.0) * self._bearded
        return np.asarray(cost - weights.code * sums["code"], np.float64), tone

    def _choose_one(self, crop: Crop, place: Surroundings, cells: _Cells, sums: dict[str, Array], seed: int) -> Choice:
        weights = self._weights
        cost, tone = self._cost(crop, place, sums)
        best = np.argpartition(cost, min(_SHORTLIST, len(cost) - 1))[:_SHORTLIST]
        close = cost[best] - weights.ring * _root_mean(sums["ring"][best], sums["ring_norm"][best])
        close += self._closer(cells, best)
        border = border_of(place)
        painted, step, cut = foresee(
            border,
            self._whole_colours[best],
            self._whole_faces[best],
            self._whole_inside[best],
            tone - self._cheek[best],
        )
        close += weights.painted * painted + weights.step * step + weights.cut * cut
        order = np.argsort(close, kind="stable")
        images: dict[int, int] = {}
        for at in order:
            images.setdefault(int(best[at]) // 2, int(at))
        ranked = np.array(list(images.values()))
        ranked_cost = close[ranked]
        near, usable = (int((ranked_cost <= ranked_cost[0] + slack).sum()) for slack in (weights.slack, weights.widest))
        ranked = ranked[: min(max(near, min(weights.fewest, usable)), weights.most)]
        noise = keys.generator(seed).gumbel(size=len(cost) // 2)
        chosen = ranked[int(np.argmax(noise[best[ranked] // 2]))]
        return Choice(int(best[chosen]), tone, float(close[chosen]), float(close[ranked[0]]))

    def _closer(self, cells: _Cells, donors: npt.NDArray[np.intp]) -> Array:
        """Return what a closer look at some donors adds: a distance of the surroundings that ignores outliers."""
        weights = self._weights
        near = np.flatnonzero(cells.weight)
        squared = ((self._colours[donors[:, None], near] - cells.lab[near]) ** 2).sum(axis=2) * np.float32(LAB_STEP**2)
        weight = cells.weight[near] * self._valid[donors[:, None], near]
        amount = weight.sum(axis=1)
        cost = weights.robust * np.sqrt(
            (np.minimum(squared, weights.robust_most**2) * weight).sum(axis=1) / (amount + 1e-3)
        )
        cost += weights.uncovered * np.maximum(0.8 - amount / (cells.weight.sum() + 1e-6), 0)
        return np.asarray(cost, np.float64)


def image_of_seed(seed: int, count: int) -> int:
    """Return which of `count` images of a bank a seed chooses where it alone decides."""
    return int(np.argmax(keys.generator(seed).gumbel(size=count)))


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """A face's surroundings in whole numbers, at the compared cells.

    Args:
        lab: (cells, 3) float32.
        weight, skin, slope_weight: (cells,) float32.
        slope: (cells, 2) float32.
        code: (48,) float32.
    """

    lab: FloatArray
    weight: FloatArray
    skin: FloatArray
    slope: FloatArray
    slope_weight: FloatArray
    code: FloatArray


def _surprise(groups: Array, belief: Array) -> Array:
    """Return minus the logarithm of the probability of each donor's group, (2 n,), by the belief in donors (2 n,)."""
    probability = (belief[:, None] * groups).sum(axis=0)
    return np.asarray((groups * -np.log(probability + 0.03)).sum(axis=1), np.float64)


def _root_mean(total: Array, norm: Array, step: float = LAB_STEP) -> Array:
    return np.asarray(step * np.sqrt(np.maximum(total, 0) / (norm + 1e-3)), np.float64)


def _pose(points: Array) -> Array:
    """Return eyes, nose and the middle of the mouth (..., 4, 2), because the corners move with the expression."""
    middle = (points[..., 3:4, :] + points[..., 4:5, :]) / 2
    return np.concatenate([points[..., :3, :], middle], axis=-2)


def _rms_distance(points: Array, target: Array) -> Array:
    """Return the root mean square distance of points (n, k, 2) from targets (k, 2), in units of the frame's side."""
    return np.asarray(np.sqrt(((points - target) ** 2).sum(axis=2).mean(axis=1)) / surroundings.SIDE, np.float64)
