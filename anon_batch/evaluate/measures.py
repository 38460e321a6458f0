"""measures.json: the result of an evaluation as records.

Version 4. A measure that was not taken is null, and `skipped` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from anon_batch.evaluate.attacks.audit import AttackSettings
from anon_batch.evaluate.attacks.measures import Reidentification
from anon_batch.evaluate.average_precision import OutcomeMeasures, PrecisionMeasures
from anon_batch.evaluate.frechet import FrechetMeasure
from anon_batch.evaluate.identity import IdentityMeasures
from anon_batch.evaluate.landmarks import LandmarkMeasures
from anon_batch.evaluate.probe import ProbeMeasure
from anon_batch.evaluate.seam import SeamMeasure
from anon_batch.evaluate.speed import SpeedMeasures
from anon_batch.evaluate.utility.findings import Findings
from anon_batch.evaluate.wider.precision import WiderPrecision
from anon_batch.recognition.embedder import EmbedderDescription

FILENAME = "measures.json"
VERSION = 4


@dataclass(frozen=True, slots=True)
class InputCounts:
    """One list of inputs.

    Args:
        listed: images, or persons for pairs.
        eligible: those that could be chosen.
        chosen: those in the sample.
        measured: those with results.
        unusable: those without a face with landmarks, where the measures need one.
        failures: reason -> images that could not be decoded or searched.
    """

    listed: int
    eligible: int
    chosen: int
    measured: int
    unusable: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was measured.

    Args:
        config: sections `detect`, `anonymize`, `checks` and `limits` of the job, without the method.
        scorer: settings of the second detector.
        embedders: the recognisers.
        attacks: which attackers there are.
        features: name -> digest, licence and training data of the feature networks.
        limit: size of the samples.
        seed: of samples and fakes.
        inputs: `manifest`, `pairs` and `faces` -> counts.
    """

    config: Mapping[str, Any]
    scorer: Mapping[str, Any] | None
    embedders: tuple[EmbedderDescription, ...]
    attacks: AttackSettings
    features: Mapping[str, Mapping[str, str]]
    limit: int | None
    seed: int
    inputs: Mapping[str, InputCounts]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured: platform, CPUs of the machine, CPU threads and device of the models."""

    platform: str
    cpu_count: int | None
    threads: int
    device: str


@dataclass(frozen=True, slots=True)
class MethodMeasures:
    """All measures of one method, or of the originals.

    Args:
        ladder: the method and its fallbacks; empty for the originals.
        outcomes: what happened to the faces of the manifest's images.
        missed: labelled faces that no mask covers, as in stats.json; None without ground truth.
        average_precision: of the second detector.
        wider: difficulty -> average precision of the second detector by the rules of WIDER FACE.
        reidentification: what attackers find out; None without pairs.
        identity: recogniser -> identity of fakes.
        landmarks: detector -> errors.
        frechet: recogniser -> distance from the originals; for the originals, of one half from the other.
        probe: feature set -> slice -> how well a linear classifier recognises replaced faces.
        seam: gradients at the masks' borders.
        utility: figures and tables by name: canary, distances, groups of generated faces; see docs/guides/utility.md.
        speed: throughput.
    """

    ladder: tuple[str, ...] = ()
    outcomes: OutcomeMeasures | None = None
    missed: Mapping[str, Any] | None = None
    average_precision: PrecisionMeasures | None = None
    wider: Mapping[str, WiderPrecision] = field(default_factory=dict)
    reidentification: Reidentification | None = None
    identity: Mapping[str, IdentityMeasures] = field(default_factory=dict)
    landmarks: Mapping[str, LandmarkMeasures] = field(default_factory=dict)
    frechet: Mapping[str, FrechetMeasure] = field(default_factory=dict)
    probe: Mapping[str, Mapping[str, ProbeMeasure]] = field(default_factory=dict)
    seam: SeamMeasure | None = None
    utility: Findings | None = None
    speed: SpeedMeasures | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """measures.json.

    Args:
        created_at: UTC, ISO 8601.
        plan: what was measured.
        models: `name@sha256` of every model of the registry that was used.
        versions: package -> version.
        machine: where it was measured.
        skipped: measure -> why it was not taken, and which option it needs.
        originals: measures of the originals.
        methods: method -> its measures.
        sheets: names of the contact sheets beside the file.
        blind_pages: names of the pages of the blind test beside the file.
        format_version: of the file.
    """

    created_at: str
    plan: Plan
    models: tuple[str, ...]
    versions: Mapping[str, str]
    machine: Machine
    skipped: Mapping[str, str]
    originals: MethodMeasures
    methods: Mapping[str, MethodMeasures]
    sheets: tuple[str, ...]
    blind_pages: tuple[str, ...] = ()
    format_version: int = VERSION

    @property
    def all_at_chance(self) -> bool:
        """Whether every method was attacked, by enough persons to tell, and none was recognised above chance."""
        found = [method.reidentification for method in self.methods.values()]
        return all(own is not None and own.verdict == "chance" for own in found)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file as JSON values."""
        content: dict[str, Any] = TypeAdapter(Measures).dump_python(self, mode="json")
        return content

    def to_json(self) -> bytes:
        """Return the file."""
        return json.dumps(self.to_dict(), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Measures:
        """Read the file.

        Raises:
            ValueError: not a measures.json of this version.
        """
        measures = TypeAdapter(Measures).validate_json(data)
        if measures.format_version != VERSION:
            raise ValueError(f"format_version {measures.format_version}, expected {VERSION}")
        return measures
