"""The configuration of an evaluation, and the models that it loads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from anon_batch.anonymizer import Anonymizer
from anon_batch.config import DetectorConfig, JobConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.detect.protocol import Detector
from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks.audit import AttackSettings
from anon_batch.evaluate.subjects import EvaluatedMethod
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.models.runtime import Runtime
from anon_batch.recognition.embedder import Embedder, load_embedders
from anon_batch.recognition.network_file import FeatureNetwork, load_feature_networks
from anon_batch.storage import Storage

ERASER = "solid"
_NO_SCORER = "manifest"  # because its boxes are the ground truth


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What to measure.

    Args:
        job: configuration of detection and methods; its `manifest` and `output` are not used.
        methods: names of the methods to compare.
        output: address of the folder for the results.
        manifest: address of a manifest of images; None for none.
        scorer: the second detector; None skips the measures that need one.
        embedders: addresses of the recognisers; none skips the measures that need one.
        attacks: which attackers the pairs get.
        pairs: address of the CSV of pairs.
        faces: address of the folder or manifest of single faces.
        only: address of the text file with the names to use of `faces`.
        blind: whether to write the pages of the blind test.
        features: addresses of feature networks or their declarations; none skips the measures that need one.
        label_column: column of the manifest that holds classes; None skips the canary.
        wider: address of the folder with the lists of WIDER FACE's eval_tools, if the manifest is its validation set.
        limit: number of images of the manifest, of persons, and of single faces to sample.
        seed: of samples and fakes.
    """

    job: JobConfig
    methods: tuple[str, ...]
    output: str
    manifest: str | None = None
    scorer: DetectorConfig | None = None
    embedders: tuple[str, ...] = ()
    attacks: AttackSettings = field(default_factory=AttackSettings)
    pairs: str | None = None
    faces: str | None = None
    only: str | None = None
    blind: bool = False
    wider: str | None = None
    features: tuple[str, ...] = ()
    label_column: str | None = None
    limit: int | None = None
    seed: int = 0

    def allowed(self, address: str) -> AllowedSources:
        """Return what may be read of a list of images at this address."""
        return AllowedSources.of_list(self.job.sources, address)

    def run_key(self, purpose: str) -> bytes:
        """Return a separate key for each purpose. It is not secret, because the seed is known."""
        return hashlib.sha256(f"anon-batch evaluation, seed {self.seed}, {purpose}".encode()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """The loaded models and methods.

    Args:
        runtime: threads and device of the models.
        scorer: the second detector.
        embedders: the recognisers, with different names.
        methods: to compare.
        eraser: the method `solid` with the same regions, which shows what the surroundings of faces give away.
        models: `name@sha256` of every model of the registry that is used.
        networks: feature networks, with different names.
    """

    runtime: Runtime
    scorer: Ensemble | None
    embedders: tuple[Embedder, ...]
    methods: tuple[EvaluatedMethod, ...]
    eraser: EvaluatedMethod
    models: tuple[str, ...]
    networks: tuple[FeatureNetwork, ...] = ()

    @property
    def anonymizer(self) -> Anonymizer:
        """The one that detects; all methods have the same detectors."""
        return self.methods[0].anonymizer

    @property
    def detector(self) -> Detector:
        """The job's detectors; what they find is anonymized."""
        return self.anonymizer.detector


def load_setup(config: EvaluationConfig, storage: Storage) -> Setup:
    """Load all models, so that errors are reported before the first image.

    Raises:
        ConfigError: no method, the scorer is one of the job's detectors, or two recognisers are the same.
        UnknownNameError: there is no such method or detector.
        ModelError: weights are missing or not the pinned ones, or a file is not a recogniser.
        StorageError: a recogniser's file cannot be read.
    """
    job = config.job
    if not config.methods:
        raise ConfigError("--methods names no method; e.g. --methods pixelate,blur,solid")
    if config.scorer is not None:
        check_scorer(config.scorer, job)
    runtime = Runtime.for_job(job, storage)
    scorer = None if config.scorer is None else load_scorer(config.scorer, job, runtime)
    methods = [load_method(job, name, runtime, config.run_key("release")) for name in dict.fromkeys(config.methods)]
    eraser = load_method(job, ERASER, runtime, config.run_key("release"))
    used = [name for method in methods for name in method.anonymizer.models]
    used += scorer.models if scorer else ()
    models = tuple(runtime.store.identify(name) for name in dict.fromkeys(used))
    embedders = load_embedders(runtime.store, config.embedders, runtime.threads)
    networks = load_feature_networks(storage, config.features, runtime.threads)
    return Setup(runtime, scorer, embedders, tuple(methods), eraser, models, networks)


def load_method(job: JobConfig, name: str, runtime: Runtime, key: bytes) -> EvaluatedMethod:
    """Load a method for faces with the other settings of the job.

    Raises:
        UnknownNameError, ConfigError, ModelError: as `Anonymizer`.
    """
    image = job.image.model_copy(update={"anonymize": job.anonymize.with_method(name)})
    return EvaluatedMethod(name, Anonymizer.from_config(image, runtime, key))


def load_scorer(scorer: DetectorConfig, job: JobConfig, runtime: Runtime) -> Ensemble:
    """Load the second detector, which reports faces of any size.

    Raises:
        UnknownNameError, ModelError, ConfigError: as `build_detector`.
    """
    changes = {"detectors": (scorer,), "min_side_px": 0.0, "refine_small": False, "rotated": False}
    return build_detector(job.detect.model_copy(update=changes), runtime)


def check_scorer(scorer: DetectorConfig, job: JobConfig) -> None:
    """Check that the second detector had no say in the choice of the regions.

    Raises:
        ConfigError: it had, or it is no detector.
    """
    names = [detector.name for detector in job.detect.detectors]
    if scorer.name in names:
        raise ConfigError(
            f"--scorer {scorer.name} is one of detect.detectors ({', '.join(names)}), which choose the regions; a detector "
            "cannot measure its own result: use another one, or `none`"
        )
    if scorer.name == _NO_SCORER:
        raise ConfigError(f"--scorer {_NO_SCORER}: its boxes are the ground truth itself; use a detector, or `none`")
