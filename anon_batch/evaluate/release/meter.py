"""Turn rows of a release into numbers: a detector that had no say in the run, and feature networks, look at both images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anon_batch.anonymize.parts import join_parts
from anon_batch.anonymize.policy import Policy
from anon_batch.detect.ensemble import Ensemble
from anon_batch.evaluate.average_precision import anonymized_truth
from anon_batch.evaluate.probe_features import DetectorFeatures, NoiseFeatures
from anon_batch.evaluate.release import residual
from anon_batch.evaluate.release.job import IDS, ReleaseJob
from anon_batch.evaluate.release.precision import PrecisionState
from anon_batch.evaluate.release.residual import SURE_SCORE, ResidualState
from anon_batch.evaluate.release.rows import MeasuredRow
from anon_batch.evaluate.release.state import ReleaseState
from anon_batch.evaluate.release.traits import TraitReader
from anon_batch.evaluate.setup import load_scorer
from anon_batch.evaluate.subjects import only_faces
from anon_batch.evaluate.utility.jackknife import group_of
from anon_batch.evaluate.utility.meter import SeenImage, UtilityMeter
from anon_batch.evaluate.utility.state import UtilityState
from anon_batch.geometry import clip_detections
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.sampling import sample_hashes
from anon_batch.models.runtime import Runtime
from anon_batch.recognition.network_file import load_feature_network
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, GroundTruth
from anon_batch.stats.matching import match


class ReleaseMeter:
    """Measures rows of one release. Its models are loaded once.

    Args:
        job: what to measure.
        runtime: where weights come from, and what the networks run on.

    Attributes:
        models: `name@sha256` of every network that measures.

    Raises:
        ConfigError, UnknownNameError, ModelError: a network is unknown, missing, or not what it should be.
        StorageError: the file of a network cannot be read.
    """

    def __init__(self, job: ReleaseJob, runtime: Runtime) -> None:
        self._label_column, self._seed = job.label_column, job.seed
        self._max_side_px = job.config.detect.max_side_px
        self._policy = Policy.from_config(job.config.anonymize)
        self._detector: Ensemble | None = None
        names: list[str] = []
        if job.scorer is not None:
            self._detector = load_scorer(job.scorer, job.config, runtime)
            names += self._detector.models
        self._utility: UtilityMeter | None = None
        networks = tuple(load_feature_network(job.storage, own, runtime.threads) for own in job.features)
        if job.ledger is not None:
            faces = DetectorFeatures(runtime.store)
            names += faces.models
            self._utility = UtilityMeter(networks, (faces, NoiseFeatures()), seed=job.seed)
        self._traits = TraitReader(job, runtime)
        self.models = (
            *(runtime.store.identify(name) for name in dict.fromkeys(names)),
            *(f"{network.name}@{network.sha256}" for network in networks),
        )

    def measure(self, rows: Sequence[MeasuredRow]) -> ReleaseState:
        """Return the numbers of some rows.

        Raises:
            WithheldError: the detector fails on an image.
            ModelError: a feature is not finite.
        """
        before = self._faces([row.source for row in rows])
        after = self._faces([row.output for row in rows])
        precision, left, utility = PrecisionState(), ResidualState(), UtilityState()
        for row, first, last in zip(rows, before, after, strict=True):
            if last is not None:
                left = left.merge(residual.of_image(row.status, last, _covered(row)))
            if first is not None:
                precision = precision.merge(precision_of(row, first, last, self._seed))
            if self._utility is not None and row.source is not None:
                self._utility.add(utility, self._seen(row, row.source, first, last))
        return ReleaseState(precision=precision, residual=left, utility=utility)

    def _faces(self, images: Sequence[SourceImage | None]) -> list[Detections | None]:
        """Return the faces in each image; None where there is no image, or no detector."""
        if self._detector is None:
            return [None] * len(images)
        shown = [image for image in images if image is not None]
        found = iter(self._detector.detect([image.preview(self._max_side_px) for image in shown]))
        return [
            None if image is None else clip_detections(only_faces(next(found)), image.width, image.height)
            for image in images
        ]

    def _seen(
        self, row: MeasuredRow, source: SourceImage, before: Detections | None, after: Detections | None
    ) -> SeenImage:
        regions = []
        if row.detections is not None:
            every = self._policy.regions_of(row.detections, source.width, source.height)
            rendered = [region for region in every if row.rendered[region.index]]
            regions = list(join_parts(rendered, self._policy, source.width, source.height))
        label = None if self._label_column is None else label_of(row, self._label_column)
        output = None if row.output is None else row.output.decode().pixels
        return SeenImage(
            row.image_id,
            source.decode().pixels,
            output,
            regions,
            {} if output is None else self._traits.traits_of(source, output, regions),
            truth=_labelled_faces(row),
            label=label,
            found=None if before is None else (before, Detections.empty() if after is None else after),
        )


def label_of(row: MeasuredRow, column: str) -> str | None:
    """Return the class of an image; of the column `image_id` it is the folder, as in ImageNet."""
    if column == IDS:
        return row.image_id.rpartition("/")[0] or None
    label = row.extra.get(column)
    return None if label is None else str(label)


def precision_of(row: MeasuredRow, before: Detections, after: Detections | None, seed: int) -> PrecisionState:
    """Return what the second detector found in one row; without an output, its faces are lost.

    Args:
        row: with what the run found.
        before: faces in the original.
        after: faces in the output; None where there is none.
        seed: of the division into groups.
    """
    state, key = PrecisionState(), int(sample_hashes([row.image_id], seed)[0])
    if (truth := _labelled_faces(row)) is not None:
        last = Detections.empty() if after is None else after
        state.anonymized.add(key, before, last, anonymized_truth(only_faces(row.anonymized), truth))
    sure = before.take(np.asarray(before.scores >= SURE_SCORE, np.bool_))
    if after is None or not len(sure):
        return state
    again = int((match(after, _as_truth(sure)).region_detection >= 0).sum())
    group = group_of(key)
    return replace(state, found={group: len(sure)}, kept={group: again} if again else {})


def _labelled_faces(row: MeasuredRow) -> GroundTruth | None:
    truth = row.truth
    return None if truth is None else truth.take(np.array([own == DEFAULT_LABEL for own in truth.labels], np.bool_))


def _covered(row: MeasuredRow) -> FloatArray:
    """Return the published extents, and what stays untouched on the owner's word."""
    kept = row.truth.boxes[row.truth.keep] if row.truth is not None else np.zeros((0, 4), np.float32)
    return np.concatenate([row.regions, kept])


def _as_truth(found: Detections) -> GroundTruth:
    return GroundTruth(found.boxes, np.zeros(len(found), np.bool_), found.labels)
