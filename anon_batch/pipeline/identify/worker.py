"""Find the faces of rows and compute their features: models are loaded once, and features go into the ledger, encrypted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from anon_batch.anonymizer import Anonymizer
from anon_batch.divided_work import attempt
from anon_batch.errors import ModelError, RowError
from anon_batch.formats.faces import FACES_SCHEMA, FacesPart
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.models.runtime import Runtime
from anon_batch.outcomes import Withheld
from anon_batch.pipeline.identify.job import IdentifyJob
from anon_batch.pipeline.identify.tasks import FaceResult, FaceTask
from anon_batch.pipeline.stages import ImageStages, ReadRow
from anon_batch.pipeline.writers import NoSink
from anon_batch.recognition.embedder import Embedder, Face, load_embedder
from anon_batch.records import DEFAULT_LABEL, BoolArray, Detections, ManifestRow

MIN_SCORE = 0.5  # of a detection that is compared; below, many are no face
MIN_EYES = 0.2  # least distance of the eyes in widths of the box, below which a face is seen from the side

_Faces = list[tuple[object, ...]]


class FaceFinder:
    """Look for the faces of rows.

    Args:
        job: what to look for.

    Attributes:
        progress_at: when the last batch was finished, by the monotonic clock.
        busy: whether a task is in progress.

    Raises:
        AnonBatchError: a model cannot be loaded, or is not the one of the pass.
    """

    def __init__(self, job: IdentifyJob) -> None:
        config = job.config
        self._job, self._key, self._planned = job, job.read_key(), job.planned_rows()
        runtime = Runtime.for_job(config, job.ledger.storage)
        self._embedder = load_embedder(runtime.store, config.identity.embedder, runtime.threads)
        if name_of(self._embedder) != job.embedder:
            raise ModelError(
                f"identity.embedder: a worker has {name_of(self._embedder)}, the pass began with {job.embedder}"
            )
        # The method does not matter, because nothing is anonymized.
        self._anonymizer = Anonymizer(config.detect, "solid", {}, limits=config.limits, key=bytes(32), runtime=runtime)
        reader = SourceReader(job.ledger.storage, AllowedSources.of(config.sources, config.manifest))
        self._stages = ImageStages(self._anonymizer, reader, NoSink(), config.limits.max_bytes, last_chance=False)
        self._io = ThreadPoolExecutor(config.engine.io_threads, thread_name_prefix="io")
        self.progress_at = time.monotonic()
        self.busy = False

    @property
    def requests(self) -> Mapping[str, int]:
        """Images sent to detectors that are services so far, by name."""
        return self._anonymizer.requests

    def process(self, task: FaceTask) -> FaceResult:
        """Make one attempt at a task. Never raise: every error is returned as a result."""
        self.progress_at, self.busy = time.monotonic(), True
        try:
            return attempt(task, self.find)
        finally:
            self.busy = False

    def find(self, task: FaceTask) -> int:
        """Write the faces of the rows of a task into the ledger; return their number.

        Raises:
            IntegrityError: the ledger is damaged.
            StorageError: storage keeps failing, not for one source alone.
        """
        faces: _Faces = []
        unread: Counter[str] = Counter()
        for row, found in self._search(self._planned.read(task.rows)):
            if isinstance(found, str):
                unread[found] += 1
            else:
                faces += [(row.index, row.image_id, *own) for own in found]
        columns = list(zip(*faces, strict=True)) or [()] * len(FACES_SCHEMA)
        table = pa.table(
            [pa.array(own, field.type) for own, field in zip(columns, FACES_SCHEMA, strict=True)], FACES_SCHEMA
        )
        self._job.put_part(task.rows, FacesPart(table, unread), self._key)
        return len(faces)

    def _search(self, rows: Sequence[ManifestRow]) -> Iterator[tuple[ManifestRow, _Faces | str]]:
        """Yield each row with its faces, or the reason why it cannot be searched; one batch is read ahead."""
        size = self._job.config.detect.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        upcoming = [self._io.submit(self._read, row) for row in batches[0]]
        for number in range(len(batches)):
            current, ahead = upcoming, batches[number + 1] if number + 1 < len(batches) else []
            upcoming = [self._io.submit(self._read, row) for row in ahead]
            yield from self._faces([future.result() for future in current])
            self.progress_at = time.monotonic()

    def _read(self, row: ManifestRow) -> ReadRow:
        return self._stages.decode(self._stages.read(row))

    def _faces(self, reads: Sequence[ReadRow]) -> Iterator[tuple[ManifestRow, _Faces | str]]:
        opened = [(read.row, read.source) for read in reads if isinstance(read.source, SourceImage)]
        found = self._anonymizer.detect([source for _, source in opened], [row.regions for row, _ in opened])
        for read in reads:
            if isinstance(read.source, Withheld):
                yield read.row, read.source.reason
        for (row, source), own in zip(opened, found, strict=True):
            try:
                yield row, own.reason if isinstance(own, Withheld) else self._features(source, own)
            except RowError as exc:  # the whole image cannot be decoded
                yield row, exc.reason
            source.release()

    def _features(self, source: SourceImage, found: Detections) -> _Faces:
        """Return index, box and feature of each face of an image."""
        compared = comparable(found, self._job.config.identity.min_face_px)
        features: list[bytes | None] = [None] * len(found)
        if compared.any():
            pixels = source.decode().pixels
            for at in np.flatnonzero(compared):
                features[at] = self._embedder.embed([Face(pixels, found.landmarks[at])])[0].astype("<f4").tobytes()
        return [
            (at, *found.boxes[at].tolist(), features[at])
            for at, label in enumerate(found.labels)
            if label == DEFAULT_LABEL
        ]


def comparable(found: Detections, min_face_px: int) -> BoolArray:
    """Return which detections are faces that can be compared: large, sure and seen from the front, (N,) bool."""
    sides = np.minimum(found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
    eyes = np.linalg.norm(found.landmarks[:, 1] - found.landmarks[:, 0], axis=1)  # NaN without landmarks
    is_face = np.array([label == DEFAULT_LABEL for label in found.labels], np.bool_)
    is_front = (eyes >= MIN_EYES * (found.boxes[:, 2] - found.boxes[:, 0])) & np.isfinite(found.landmarks).all(
        axis=(1, 2)
    )
    return np.asarray(is_face & is_front & (sides >= min_face_px) & (found.scores >= MIN_SCORE), np.bool_)


def name_of(embedder: Embedder) -> str:
    """Return `name@sha256` of a recogniser."""
    return f"{embedder.name}@{embedder.sha256}"
