"""Search the sources of published rows with the job of a patch, and compare what is found with the audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from anon_batch.anonymizer import Anonymizer
from anon_batch.detect.drawn import is_drawn
from anon_batch.geometry import clip_detections
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.models.runtime import Runtime
from anon_batch.outcomes import Withheld
from anon_batch.pipeline.patch.compare import audited_detections, is_other
from anon_batch.pipeline.patch.job import PatchJob
from anon_batch.pipeline.stages import ImageStages, ReadRow
from anon_batch.pipeline.writers import NoSink
from anon_batch.records import Detections, ManifestRow


class Candidate(NamedTuple):
    """A row to search.

    Args:
        row: of the manifest, with what people drew.
        audit: its private row.
        published: whether it has an output.
    """

    row: ManifestRow
    audit: Mapping[str, Any]
    published: bool


class Searcher:
    """Search rows. Loads the models.

    Args:
        job: whose settings search.
        io: reads sources.

    Raises:
        AnonBatchError: a model cannot be loaded.
    """

    def __init__(self, job: PatchJob, io: Executor) -> None:
        self._io = io
        self._whole = job.changes.search == "whole"
        self._detectors = job.changes.detectors_before
        self._batch_size = job.config.detect.batch_size
        runtime = Runtime.for_job(job.config, job.release.storage)
        self._anonymizer = Anonymizer.from_config(job.config.image, runtime, job.run_key)
        reader = SourceReader(job.release.storage, AllowedSources.of(job.config.sources, job.config.manifest))
        self._stages = ImageStages(self._anonymizer, reader, NoSink(), job.config.limits.max_bytes, last_chance=False)

    def search(self, candidates: Sequence[Candidate]) -> Iterator[list[tuple[Candidate, bool | str]]]:
        """Yield each row with whether its detections are others now, or the reason why it cannot be searched; in batches.

        Raises:
            StorageError: storage keeps failing, not for one source alone.
        """
        size = self._batch_size
        batches = [candidates[start : start + size] for start in range(0, len(candidates), size)]
        upcoming = [self._io.submit(self._read, own.row) for own in batches[0]] if batches else []
        for number, batch in enumerate(batches):
            current, ahead = upcoming, batches[number + 1] if number + 1 < len(batches) else []
            upcoming = [self._io.submit(self._read, own.row) for own in ahead]
            yield self._compare(batch, [future.result() for future in current])

    def _read(self, row: ManifestRow) -> ReadRow:
        return self._stages.decode(self._stages.read(row))

    def _compare(self, batch: Sequence[Candidate], reads: Sequence[ReadRow]) -> list[tuple[Candidate, bool | str]]:
        answers: list[tuple[Candidate, bool | str]] = []
        opened: list[tuple[Candidate, SourceImage]] = []
        for own, read in zip(batch, reads, strict=True):
            if isinstance(read.source, Withheld):
                answers.append((own, read.source.reason))
            elif read.sha256 != own.audit["source_sha256"]:
                answers.append((own, "source_changed"))
            else:
                opened.append((own, read.source))
        for (own, source), found in zip(opened, self._find(opened), strict=True):
            answers.append((own, self._is_other(own, source, found)))
            source.release()
        return answers

    def _is_other(self, own: Candidate, source: SourceImage, found: Detections | Withheld) -> bool:
        if isinstance(found, Withheld):
            return own.published  # because nothing could be published now
        if self._whole:
            return not own.published or is_other(audited_detections(own.audit, None), _clipped(found, source))
        before = audited_detections(own.audit, self._detectors)
        return is_other(before.take(~is_drawn(before)), _clipped(found, source))

    def _find(self, opened: Sequence[tuple[Candidate, SourceImage]]) -> Sequence[Detections | Withheld]:
        sources, truths = [source for _, source in opened], [own.row.regions for own, _ in opened]
        if not self._whole:
            return self._anonymizer.detect(sources, truths)
        outcomes = self._anonymizer.process(sources, truths, drawn=[own.row.drawn for own, _ in opened])
        return [own if isinstance(own, Withheld) else own.detections for own in outcomes]


def _clipped(found: Detections, source: SourceImage) -> Detections:
    return clip_detections(found, source.width, source.height)
