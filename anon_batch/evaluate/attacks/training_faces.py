"""Faces of other persons from which an inversion learns: the user's, or the synthetic ones of the donor bank."""

from __future__ import annotations

from collections import Counter

import numpy as np

from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks.audit import AttackSettings
from anon_batch.evaluate.attacks.copies import window
from anon_batch.evaluate.attacks.inversion import INVERT, Training
from anon_batch.evaluate.samples import ImageReader, select_faces
from anon_batch.evaluate.subjects import EvaluatedMethod, Subject, detect_faces, subject_of
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.models.runtime import Runtime
from anon_batch.records import Detections
from anon_batch.storage import Storage

MAX_FACES = 600


def load_training(
    settings: AttackSettings, job: JobConfig, storage: Storage, runtime: Runtime, method: EvaluatedMethod, seed: int
) -> Training | None:
    """Return what an inversion learns from; None where it is not one of the attacks.

    Args:
        settings: the attacks.
        job: limits, allowed sources and batch size.
        storage: of the user's faces.
        runtime: weights and threads.
        method: any method of the job, whose detectors find the faces.
        seed: of the sample.

    Raises:
        ConfigError, ManifestError, ModelError, StorageError: the faces cannot be read.
    """
    if INVERT not in settings.attacks:
        return None
    if settings.faces is None:
        faces, source = donor_faces(runtime, seed), "the donor bank"
    else:
        faces, source = read_training_faces(job, storage, method, settings.faces, seed), settings.faces
    return Training(faces, source, settings.steps, seed, runtime.threads)


def read_training_faces(
    job: JobConfig, storage: Storage, method: EvaluatedMethod, address: str, seed: int
) -> list[Subject]:
    """Read images of one face each, a sample of `MAX_FACES` at most.

    Raises:
        ConfigError: there is no image with a face that has landmarks.
        ManifestError, StorageError: they cannot be read.
    """
    selection = select_faces(storage, address, only=None, limit=MAX_FACES, seed=seed, option="--attack-faces")
    failures: Counter[str] = Counter()
    reader = ImageReader(storage, job.limits, AllowedSources.of_list(job.sources, address), failures)
    subjects = []
    for batch in reader.batches(selection.iterate(), job.detect.batch_size):
        for image in detect_faces(method.anonymizer, batch, failures):
            subject = subject_of(image)
            subjects += [] if subject is None else [window(subject)]
    if not subjects:
        raise ConfigError(f"--attack-faces {address}: no face with landmarks in {selection.chosen_count:,} images")
    return subjects


def donor_faces(runtime: Runtime, seed: int) -> list[Subject]:
    """Return the faces of the donor bank, `MAX_FACES` at most.

    Raises:
        ModelError: the bank cannot be read.
    """
    bank = DonorBank(runtime.store.load(MODEL_NAME))
    images = np.sort(np.random.default_rng(seed).permutation(len(bank) // 2)[:MAX_FACES])
    return [_subject(bank, 2 * int(image)) for image in images]


def _subject(bank: DonorBank, index: int) -> Subject:
    donor = bank.donor(index)
    found = Detections(
        boxes=donor.box[None].astype(np.float32),
        scores=np.ones(1, np.float32),
        landmarks=donor.points[None].astype(np.float32),
        detectors=("manifest",),
    )
    return Subject(SourceImage.from_array(f"donor {index}", donor.pixels), found)
