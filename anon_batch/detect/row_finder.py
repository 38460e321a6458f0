"""Run a user's network whose outputs are rows, and find out once, on a grey image, what they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from anon_batch.config.detect import TileConfig
from anon_batch.detect.letterbox import find_in_batches, network_shape
from anon_batch.detect.own_model import InputOptions, ModelOptions, asked_for, load_network, own_backend
from anon_batch.detect.protocol import FAILURE, DetectorSettings, RealArray, checked_detections
from anon_batch.errors import ModelError, WithheldError
from anon_batch.geometry import non_maximum_suppression
from anon_batch.models.backends import open_network
from anon_batch.models.network import Network
from anon_batch.models.row_graph import ImageInput, prepare_rows
from anon_batch.models.runtime import Runtime
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, PixelArray

NMS_IOU = 0.4
_PROBED = (96, 160)  # height and width of the grey image, for a network with free sides
_GREY = 127.0
_ROUNDING = 0.01

Shape = tuple[int, int]
Outputs = list[FloatArray]
Indices = npt.NDArray[np.intp]


class Layout(ABC):
    """What the rows of a network mean.

    Attributes:
        columns: what it expects, for messages.
    """

    columns: str

    @abstractmethod
    def sort(self, outputs: Outputs, shape: Shape) -> Outputs | None:
        """Return a network's outputs in this layout's order, or None if they are not of this layout.

        Args:
            outputs: (N, k) each.
            shape: height and width of the network's input.
        """

    @abstractmethod
    def scores(self, outputs: Outputs) -> FloatArray:
        """Return the scores of sorted outputs as the network gives them: (N, 1), or (N, 2) of background and face."""

    @abstractmethod
    def places(self, outputs: Outputs, shape: Shape, chosen: Indices) -> tuple[RealArray, RealArray]:
        """Return boxes (M, 4) xyxy and landmarks (M, 5, 2), network px, of the rows `chosen` of sorted outputs."""


class RowFinder:
    """Finds faces with a user's network.

    Args:
        name: of the detector.
        model: identity of the network, `name@sha256`.
        network: as `prepare_rows` makes it.
        size: height and width of its input; None if they are free.
        layout: what its rows mean.
        are_logits: whether scores are logits.
        threshold: lowest score of a face.
    """

    labels = (DEFAULT_LABEL,)

    def __init__(
        self,
        name: str,
        model: str,
        network: Network,
        size: Shape | None,
        layout: Layout,
        threshold: float,
        *,
        are_logits: bool,
    ) -> None:
        self.name, self.models = name, (model,)
        self._network, self._size, self._layout = network, size, layout
        self._threshold, self._are_logits = threshold, are_logits

    def find(self, pieces: Sequence[PixelArray], scales: Sequence[float]) -> list[Detections]:
        """See Finder.find."""
        groups: dict[Shape, list[int]] = defaultdict(list)
        for index, (piece, scale) in enumerate(zip(pieces, scales, strict=True)):
            groups[self._size or network_shape(piece, scale)].append(index)
        found: dict[int, Detections] = {}
        for shape, members in groups.items():
            own = [pieces[index] for index in members], [scales[index] for index in members]
            answers = find_in_batches(self._network, *own, partial(self._decode, shape), shape)
            found.update(zip(members, answers, strict=True))
        return [found[index] for index in range(len(pieces))]

    def _decode(self, shape: Shape, outputs: Outputs, stretch: tuple[float, float]) -> Detections:
        rows = self._layout.sort(outputs, shape)
        if rows is None:
            raise WithheldError(FAILURE, f"{self.name} gave other outputs than before: {describe(outputs)}")
        given = self._layout.scores(rows)
        if not np.isfinite(given).all():  # a comparison with NaN would read as "no face"
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused below
            scores = _faces(given, are_logits=self._are_logits)
            chosen = np.flatnonzero(scores >= self._threshold)
            boxes, marks = self._layout.places(rows, shape, chosen)
        found = checked_detections(
            self.name, boxes / np.asarray(stretch * 2), scores[chosen], marks / np.asarray(stretch)
        )
        return found.take(non_maximum_suppression(found.boxes, found.scores, NMS_IOU))


class OwnNetwork:
    """A user's file, opened and looked at; makes finders of any threshold.

    Args:
        options: of the detector.
        families: layouts that the file may have, the likeliest first, and how each takes its image.
        runtime: where files come from, and what runs them.
        settings: of the job.

    Raises:
        ConfigError, ModelError: as `load_network`; or the file is no network of this family.
    """

    def __init__(
        self,
        options: ModelOptions,
        families: Sequence[tuple[Layout, ImageInput]],
        runtime: Runtime,
        settings: DetectorSettings,
    ) -> None:
        self._name, self._settings = settings.name, settings
        self._model, data = load_network(settings.name, options, runtime)
        backend, device = own_backend(settings.detect.backend, runtime.device)

        def open_as(taken: ImageInput) -> None:
            prepared = prepare_rows(data, taken)
            self._network = open_network(backend, prepared.data, threads=runtime.threads, device=device)
            self._size = prepared.size

        try:
            open_as(families[0][1])
            self._layout, taken = self._look(families)
            if taken != families[0][1]:
                open_as(taken)
            self._are_logits = _are_logits(self._layout.scores(self._rows()))
        except ModelError as exc:
            raise ModelError(f"detector `{settings.name}`: {exc}") from None

    def finder(self, threshold: float) -> RowFinder:
        """Return the network with its decoding for a threshold."""
        return RowFinder(
            self._name,
            self._model,
            self._network,
            self._size,
            self._layout,
            threshold,
            are_logits=self._are_logits,
        )

    @property
    def settings(self) -> DetectorSettings:
        """The job's settings, with windows that a network of one size sees at the job's scale."""
        settings = asked_for(self._settings)
        if self._size is None:
            return settings
        detect = settings.detect
        side = min(self._size) if detect.tile.size_px == 0 else min(*self._size, detect.tile.size_px)
        tile = TileConfig(size_px=side, overlap_px=min(detect.tile.overlap_px, side // 2))
        return DetectorSettings(settings.config, detect.model_copy(update={"tile": tile}))

    def _look(self, families: Sequence[tuple[Layout, ImageInput]]) -> tuple[Layout, ImageInput]:
        outputs, shape = self._run(), self._size or _PROBED
        for layout, taken in families:
            if layout.sort(outputs, shape) is not None:
                return layout, taken
        expected = "; or ".join(layout.columns for layout, _ in families)
        raise ModelError(f"expected {expected}. For an image of {shape[1]} x {shape[0]} px it gave {describe(outputs)}")

    def _rows(self) -> Outputs:
        rows = self._layout.sort(self._run(), self._size or _PROBED)
        if rows is None:
            raise ModelError("the shapes of its outputs depend on what an image shows, which cannot be decoded")
        return rows

    def _run(self) -> Outputs:
        """Return what the network says of a grey image."""
        height, width = self._size or _PROBED
        batch = np.full((self._network.batch_size, 3, height, width), _GREY, np.float32)
        try:
            return [out[0] for out in self._network.run(batch)]
        except Exception as exc:  # because runtimes raise errors of their own
            free = "" if self._size else ", although its sides are free: export it with fixed sides"
            why = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
            raise ModelError(f"it does not run on an image of {width} x {height} px{free} ({why})") from None


def image_input(given: InputOptions, order: str, mean: tuple[float, float, float], scale: float) -> ImageInput:
    """Return how a network takes its image: as the job says, else as its family does."""
    return ImageInput(
        order if given.order is None else given.order,
        mean if given.mean is None else given.mean,
        scale if given.scale is None else given.scale,
    )


def describe(outputs: Outputs) -> str:
    """Return the shapes of outputs, for messages."""
    return ", ".join(" x ".join(map(str, out.shape)) for out in outputs) or "nothing"


def _are_logits(rows: FloatArray) -> bool:
    """Return whether scores (N, 1) or (N, 2) are logits, not shares of 1."""
    in_range = bool(np.all((rows >= -_ROUNDING) & (rows <= 1 + _ROUNDING)))
    return not (in_range and (rows.shape[1] == 1 or np.allclose(rows.sum(axis=1), 1, atol=_ROUNDING)))


def _faces(rows: FloatArray, *, are_logits: bool) -> FloatArray:
    """Return how likely each row is a face (N,)."""
    if not are_logits:
        return rows[:, -1]
    logits = rows[:, 0] if rows.shape[1] == 1 else rows[:, 1] - rows[:, 0]
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
