"""The pass over pairs of pictures of one person: features of originals and outputs, for the measures of identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.errors import ConfigError
from anon_batch.evaluate.embedder import Embedder, aligned_crop
from anon_batch.evaluate.identity import IdentityFeatures, identity_figures
from anon_batch.evaluate.images import SpeedSample
from anon_batch.evaluate.pairs_csv import Pair
from anon_batch.evaluate.reidentification import PairFeatures, attack
from anon_batch.evaluate.samples import PictureReader
from anon_batch.evaluate.setup import EvaluationPlan, Instruments
from anon_batch.evaluate.subjects import Method, Portrait, portrait_of, search
from anon_batch.records import FloatArray
from anon_batch.storage import Storage

_OUTPUTS = ("neutral", "smiling", "parrot_neutral", "parrot_smiling", "seed_neutral", "seed_smiling", "seed_shifted")


@dataclass(slots=True, eq=False)
class PairMeasures:
    """State of the pass: rows of features, one a person, by kind of picture.

    Args:
        originals: `neutral` and `smiling` -> rows.
        outputs: method -> kind of output -> rows; NaN where there is no output.
        unusable: persons left out, as no face with landmarks was found in one of their pictures.
        failures: reason -> pictures that could not be read.
    """

    originals: dict[str, list[FloatArray]]
    outputs: dict[str, dict[str, list[FloatArray]]]
    unusable: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def persons(self) -> int:
        """Persons measured."""
        return len(self.originals["neutral"])

    def original(self) -> PairFeatures:
        """Features of the originals."""
        return PairFeatures(np.stack(self.originals["neutral"]), np.stack(self.originals["smiling"]))

    def reidentification(self, method: str) -> dict[str, Any]:
        """Outputs sought in a gallery of originals, and in one that the attacker treated."""
        rows = {kind: np.stack(features) for kind, features in self.outputs[method].items()}
        probes = PairFeatures(rows["neutral"], rows["smiling"])
        parrot = PairFeatures(rows["parrot_neutral"], rows["parrot_smiling"])
        return {"original_gallery": attack(self.original(), probes), "treated_gallery": attack(parrot, probes)}

    def identity(self, method: str) -> dict[str, Any]:
        """See `identity.identity_figures`."""
        rows = {kind: np.stack(features) for kind, features in self.outputs[method].items()}
        original = self.original()
        return identity_figures(
            IdentityFeatures(
                rows["seed_neutral"], rows["seed_smiling"], rows["seed_shifted"], original.neutral, original.smiling
            )
        )


def measure_pairs(
    plan: EvaluationPlan,
    storage: Storage,
    instruments: Instruments,
    embedder: Embedder,
    pairs: Sequence[Pair],
    sample: SpeedSample,
    tick: Callable[[int], None],
) -> PairMeasures:
    """Treats both pictures of every person in all the ways that the measures need.

    Raises:
        ConfigError: fewer than two persons can be measured.
    """
    state = PairMeasures(
        {"neutral": [], "smiling": []},
        {method.name: {kind: [] for kind in _OUTPUTS} for method in instruments.methods},
    )
    reader = PictureReader(storage, plan.job.limits, state.failures)
    size = plan.job.detect.batch_size
    for chunk in (pairs[start : start + size] for start in range(0, len(pairs), size)):
        persons = list(_portraits(chunk, reader, instruments, state))
        for neutral, smiling in persons:
            sample.offer(neutral.image, neutral.detections)
            sample.offer(smiling.image, smiling.detections)
        if persons:
            _measure(plan, state, instruments.methods, embedder, persons)
        tick(len(chunk))
    if state.persons < 2:
        detectors = ", ".join(detector.name for detector in plan.job.detect.detectors)
        raise ConfigError(
            f"--pairs {plan.pairs}: detector {detectors} found a face with landmarks in both pictures of {state.persons} of "
            f"{len(pairs)} persons; two at least are needed: use a detector that gives landmarks, or larger pictures"
        )
    return state


def _portraits(
    chunk: Sequence[Pair], reader: PictureReader, instruments: Instruments, state: PairMeasures
) -> Iterator[tuple[Portrait, Portrait]]:
    rows = [row for pair in chunk for row in (pair.neutral, pair.smiling)]
    found: dict[str, Portrait] = {}
    for batch in reader.batches(rows, len(rows)):
        for picture in search(instruments.detector, batch, state.failures):
            if (portrait := portrait_of(picture)) is not None:
                found[picture.row.image_id] = portrait
    for pair in chunk:
        both = found.get(pair.neutral.image_id), found.get(pair.smiling.image_id)
        if both[0] is None or both[1] is None:
            state.unusable += 1
        else:
            yield both[0], both[1]


def _measure(
    plan: EvaluationPlan,
    state: PairMeasures,
    methods: Sequence[Method],
    embedder: Embedder,
    persons: Sequence[tuple[Portrait, Portrait]],
) -> None:
    first = state.persons
    neutral, smiling = [pair[0] for pair in persons], [pair[1] for pair in persons]
    for kind, portraits in (("neutral", neutral), ("smiling", smiling)):
        crops = [aligned_crop(portrait.image.pixels, portrait.landmarks) for portrait in portraits]
        state.originals[kind].extend(embedder.embed(crops))
    seeds = [f"identity-{first + position}" for position in range(len(persons) + 1)]
    same = [portrait.named(seed) for portrait, seed in zip(neutral, seeds, strict=False)]
    also = [portrait.named(seed) for portrait, seed in zip(smiling, seeds, strict=False)]
    next_one = [portrait.named(seed) for portrait, seed in zip(smiling, seeds[1:], strict=True)]
    work = {
        "neutral": (neutral, "release"),
        "smiling": (smiling, "release"),
        "parrot_neutral": (neutral, "attacker"),
        "parrot_smiling": (smiling, "attacker"),
        "seed_neutral": (same, "identity"),
        "seed_smiling": (also, "identity"),
        "seed_shifted": (next_one, "identity"),
    }
    for method in methods:
        for kind, (portraits, purpose) in work.items():
            state.outputs[method.name][kind].extend(_features(method, portraits, plan.run_key(purpose), embedder))


def _features(method: Method, portraits: Sequence[Portrait], key: bytes, embedder: Embedder) -> list[FloatArray]:
    results = method.treat([(portrait.image, portrait.detections) for portrait in portraits], key)
    rows = []
    for portrait, result in zip(portraits, results, strict=True):
        if result is None:
            rows.append(np.full(embedder.dimensions, np.nan, np.float32))
        else:
            rows.append(embedder.embed([aligned_crop(result.pixels, portrait.landmarks)])[0])
    return rows
