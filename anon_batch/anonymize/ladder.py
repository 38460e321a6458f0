"""The ladder: each face tries the methods in order; a picture with a face that none treats is withheld.

Nothing that a method does, raising, running out of memory, claiming work that it has not done, can let an
untreated face
through: every result is checked, and what is not believed falls to the next method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from anon_batch.anonymize.checks.structure import fault_of_result, untreated_faces
from anon_batch.anonymize.compose import union_of_masks
from anon_batch.anonymize.protocol import Batch, RegionAnonymizer
from anon_batch.anonymize.registry import load_method
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.records import AnonymizedImage, BoolArray, DecodedImage, PixelArray, Region

WITHHELD_REASON = "anonymize"
_MAX_DETAILS = 20


@dataclass(slots=True, eq=False)
class _Progress:
    """One picture on its way down the ladder."""

    image: DecodedImage
    regions: tuple[Region, ...]
    pixels: PixelArray
    touched: BoolArray
    pending: list[Region]
    methods: dict[int, str] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)


class Ladder:
    """Methods in the order in which a face tries them.

    Args:
        methods: at least one, names all different.

    Raises:
        ConfigError: no method, or a name twice.
    """

    def __init__(self, methods: Sequence[RegionAnonymizer]) -> None:
        names = [method.name for method in methods]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"ladder of methods {names}: expected at least one, each once")
        self._methods = tuple(methods)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return tuple(method.name for method in self._methods)

    @property
    def model_names(self) -> tuple[str, ...]:
        """Models that any of the methods uses, each once."""
        return tuple(dict.fromkeys(name for method in self._methods for name in method.model_names))

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage | WithheldError]:
        """Treats every region of every picture, or withholds the picture.

        Args:
            batch: pictures and their regions; never modified. A picture without regions comes back as it is.
            run_key: the run's secret.

        Returns:
            One entry a picture, in order: the result, whose `methods` has every region's face and whose
            `refused` is empty; or a WithheldError("anonymize", detail), the detail for the private audit.
        """
        states = [_start(image, regions) for image, regions in batch]
        open_states = [state for state in states if isinstance(state, _Progress)]
        for method in self._methods:
            work = [state for state in open_states if state.pending]
            if work:
                _climb(method, work, run_key)
        return [state if isinstance(state, WithheldError) else _finish(state) for state in states]


def build_ladder(config: AnonymizeConfig, store: Any, threads: int, device: str) -> Ladder:
    """The ladder of a job file: its `method`, then its `fallback`s.

    Args:
        config: the job file's section.
        store: the model store, for methods with weights.
        threads: of a network.
        device: `cpu` or `cuda`.

    Raises:
        UnknownNameError, ConfigError, ModelError: as `registry.load_method`; nothing is replaced by something
        else.
    """
    return Ladder([load_method(name, config, store, threads, device) for name in config.ladder])


def _start(image: DecodedImage, regions: Sequence[Region]) -> _Progress | WithheldError:
    indices = [region.index for region in regions]
    if len(set(indices)) < len(indices):
        return _withheld(image, "two regions share a face index")
    for region in regions:
        if region.extent[2] > image.width or region.extent[3] > image.height:
            return _withheld(
                image,
                f"face {region.index}: extent {region.extent} leaves the picture, {image.width} x {image.height} px",
            )
    untouched = np.zeros(image.pixels.shape[:2], np.bool_)
    return _Progress(image, tuple(regions), image.pixels, untouched, list(regions))


def _climb(method: RegionAnonymizer, work: Sequence[_Progress], run_key: bytes) -> None:
    """Lets one method treat what is pending, and takes over what it did."""
    try:
        results: Sequence[AnonymizedImage | None] = _call(method, work, run_key)
    except Exception as exc:  # any failure of a method is one step of the ladder
        results = [None]
        if len(work) == 1:
            work[0].details.append(f"{method.name}: {_text(exc)}")
        else:
            results = [_retry(method, state, run_key) for state in work]
    for state, result in zip(work, results, strict=True):
        if result is None:
            continue
        try:
            _take_over(method.name, state, result)
        except Exception as exc:  # a result so odd that the check itself breaks on it, or memory
            state.details.append(f"{method.name}: the result cannot be checked: {_text(exc)}")


def _retry(method: RegionAnonymizer, state: _Progress, run_key: bytes) -> AnonymizedImage | None:
    try:
        return _call(method, [state], run_key)[0]
    except Exception as exc:  # as in _climb
        state.details.append(f"{method.name}: {_text(exc)}")
        return None


def _call(method: RegionAnonymizer, work: Sequence[_Progress], run_key: bytes) -> list[AnonymizedImage]:
    results = method.anonymize([(_read_only(state), tuple(state.pending)) for state in work], run_key)
    if len(results) != len(work):
        raise ValueError(f"returned {len(results)} results for {len(work)} pictures")
    return results


def _read_only(state: _Progress) -> DecodedImage:
    """The picture as treated so far; a method that writes into it raises and cannot change what it is
    checked against.
    """
    pixels = state.pixels.view()
    pixels.flags.writeable = False
    return replace(state.image, pixels=pixels)


def _take_over(method_name: str, state: _Progress, result: AnonymizedImage) -> None:
    if fault := fault_of_result(state.pixels, result, state.pending, method_name):
        state.details.append(f"{method_name}: {fault}")
        return
    # Faces that are done keep what an earlier method gave them, which is as safe and mostly better: a weak detection
    # that overlaps a face does not spoil it. So what is checked, and against the original, is what both leave together.
    if done := [region for region in state.regions if region.index in state.methods]:
        treated = union_of_masks(done, state.image.width, state.image.height)
        result = replace(result, pixels=np.where(treated[:, :, None], state.pixels, result.pixels))
    faults = untreated_faces(state.image.pixels, result, state.pending)
    # What was done to believed faces is kept and so are pixels of the others: the next method paints over
    # those.
    state.pixels, state.touched = result.pixels, state.touched | result.touched
    state.methods.update({r.index: method_name for r in state.pending if r.index not in faults})
    state.details.extend(f"{method_name}: face {index}: {why}" for index, why in faults.items())
    state.pending = [region for region in state.pending if region.index in faults]


def _finish(state: _Progress) -> AnonymizedImage | WithheldError:
    if state.pending:
        shown = "; ".join(state.details[-_MAX_DETAILS:])
        return _withheld(state.image, f"{len(state.pending)} faces untreated: {shown}")
    result = AnonymizedImage(state.pixels, state.touched, state.methods)
    if len(set(state.methods.values())) > 1:
        # A later method must not bring back what an earlier one removed.
        undone = untreated_faces(state.image.pixels, result, state.regions)
        if undone:
            return _withheld(state.image, f"undone by a later method: {undone}")
    return result


def _withheld(image: DecodedImage, why: str) -> WithheldError:
    return WithheldError(WITHHELD_REASON, f"{image.image_id}: {why}")


def _text(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"[:500]
